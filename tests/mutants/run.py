"""Put hand-written slips in, one at a time, and see whether a test notices each within its time.

    python tests/mutants/run.py                       all slips of slips.py
    python tests/mutants/run.py --file sampling       those of files whose path holds this text
    python tests/mutants/run.py --missing             those that no result in `--out` says were noticed
    python tests/mutants/run.py --check               only whether every slip still has its place
    python tests/mutants/run.py --at-once             all in one copy; counts the quick and wiring tests that fail

The tree is copied once into a temporary folder; the checkout is never changed. Results go to `--out` as JSON lines, and
as a Markdown table of all results there: noticed or not, by which test, after how many seconds. Exit status 1: a slip
has lost its place, a test file fails without a slip, or fewer than `--floor` of the slips were noticed.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from slips import LIBRARY, SLIPS, Slip

REPOSITORY = Path(__file__).parents[2]
COPIED = ("workflow", "tests", "config", "envs", "profiles", "Snakefile", "pyproject.toml")
SECONDS = 30.0
FLOOR = 0.95


def place_of(slip: Slip, root: Path) -> Path:
    return (root / LIBRARY / slip.file).resolve()


def fault_of(slip: Slip, root: Path) -> str | None:
    """Why a slip cannot be put in, or None: its text must stand exactly once, and its tests must exist."""
    path = place_of(slip, root)
    missing = [name for name in slip.test_files if not (root / name).exists()]
    if not path.exists() or missing:
        return f"no such file: {', '.join(missing) or slip.file}"
    found = path.read_text(encoding="utf-8").count(slip.old)
    return None if found == 1 else f"the text stands {found} times in {slip.file}: {slip.old!r}"


def copy_tree(target: Path) -> None:
    """What tests need of the repository, without what runs have left in it."""
    ignored = shutil.ignore_patterns("__pycache__", ".snakemake", "bench", "mutants")
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignored)
        elif source.exists():
            shutil.copy(source, target / name)


def environment_of(root: Path) -> dict[str, str]:
    """Tests of a copy import its library, and leave no bytecode that could outlive a slip."""
    return {**os.environ, "PYTHONPATH": str(root / "workflow"), "PYTHONDONTWRITEBYTECODE": "1"}


def run_tests(root: Path, arguments: Sequence[str], seconds: float) -> tuple[str, str | None, float, float]:
    """Run test files until a failure: `passed`, `failed` or `timeout`; the test; seconds by clock, and of CPU."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:warnings", *arguments]
    started, before = time.monotonic(), _cpu_seconds()
    process = subprocess.Popen(
        command, cwd=root, env=environment_of(root), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)  # with the processes that a test started
        process.communicate()
        return "timeout", None, time.monotonic() - started, _cpu_seconds() - before
    spent = time.monotonic() - started, _cpu_seconds() - before
    named = re.search(r"^(?:FAILED|ERROR) \S*?([^/\s]+\.py\S*)", output, flags=re.MULTILINE)
    if process.returncode == 0:
        return "passed", None, *spent
    return "failed", named[1] if named else output.strip().splitlines()[-1][:100], *spent


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


QUICK = ("tests/unit", "workflow/distillery", "-m", "not slow and not e2e and not vllm and not golden")
PLANNED = (
    "tests/workflow/test_producers.py",
    "--deselect=tests/workflow/test_producers.py::test_every_record_of_a_run_names_what_is_written_down",
)


def try_at_once(slips: Sequence[Slip], root: Path) -> None:
    """Put all slips into one copy; print how many tests fail. Of two slips at one place the first is put in."""
    placed = 0
    for slip in slips:
        path = place_of(slip, root)
        text = path.read_text(encoding="utf-8")
        if text.count(slip.old) == 1:
            path.write_text(text.replace(slip.old, slip.new), encoding="utf-8")
            placed += 1
    print(f"{placed} of {len(slips)} slips are in one copy", flush=True)
    for arguments in (QUICK, PLANNED):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:warnings", "-n", "auto", *arguments]
        ran = subprocess.run(command, cwd=root, env=environment_of(root), capture_output=True, text=True)
        print(f"{' '.join(arguments[:2])}: {ran.stdout.strip().splitlines()[-1]}", flush=True)


def try_slip(slip: Slip, root: Path, seconds: float) -> dict[str, Any]:
    """Put a slip in, run its tests, take it out."""
    path = place_of(slip, root)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(slip.old, slip.new), encoding="utf-8")
    try:
        outcome, test, spent, cpu = run_tests(root, slip.pytest_arguments, seconds)
    finally:
        path.write_text(text, encoding="utf-8")
    return {
        "class": slip.kind, "file": slip.file, "old": slip.old, "new": slip.new, "outcome": outcome,
        "noticed": outcome == "failed", "test": test, "seconds": round(spent, 1), "cpu_seconds": round(cpu, 1),
    }  # fmt: skip


def table(results: Sequence[dict[str, Any]]) -> str:
    """Counts by class, then every slip."""
    total, noticed = (
        Counter(one["class"] for one in results),
        Counter(one["class"] for one in results if one["noticed"]),
    )
    lines = ["| class | slips | noticed |", "|---|---:|---:|"]
    lines += [f"| {name} | {total[name]} | {noticed[name]} |" for name in total]
    lines += [f"| all | {total.total()} | {noticed.total()} |", ""]
    lines += ["| class | file | instead of | stands | noticed by | s | s of CPU |", "|---|---|---|---|---|---:|---:|"]
    for one in results:
        by = (
            one["test"] if one["noticed"] else f"**{'time ran out' if one['outcome'] == 'timeout' else 'not noticed'}**"
        )
        cells = [
            one["class"],
            one["file"],
            _code(one["old"]),
            _code(one["new"]),
            by,
            one["seconds"],
            one.get("cpu_seconds", ""),
        ]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def all_results(path: Path) -> list[dict[str, Any]]:
    """What was found so far: the last result of each slip that there still is, by class."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        result = json.loads(line)
        found[identity(result)] = result
    present = {(slip.file, slip.old, slip.new) for slip in SLIPS}
    return sorted(
        (result for name, result in found.items() if name in present),
        key=lambda result: (result["class"], result["file"]),
    )


def identity(result: dict[str, Any]) -> tuple[str, str, str]:
    return result["file"], result["old"], result["new"]


def _code(text: str) -> str:
    return f"`{' '.join(text.split())}`" if text.strip() else "nothing"


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", default="", help="only slips in files whose path holds this text")
    parser.add_argument("--check", action="store_true", help="only check that every slip has its place")
    parser.add_argument("--out", type=Path, default=Path("work/mutants"), help="folder of the results")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time that the tests of a slip have")
    parser.add_argument("--floor", type=float, default=FLOOR, help="share that must be noticed")
    parser.add_argument("--missing", action="store_true", help="only slips that are not known to be noticed")
    parser.add_argument("--at-once", action="store_true", help="all slips in one copy")
    parser.add_argument("--baseline", action="store_true", help="first run each set of test files without a slip")
    given = parser.parse_args()
    known = {identity(result) for result in all_results(given.out / "slips.jsonl") if result["noticed"]}
    chosen = [
        slip
        for slip in SLIPS
        if given.file in slip.file and not (given.missing and (slip.file, slip.old, slip.new) in known)
    ]
    lost = [f"{slip.kind}: {fault}" for slip in chosen if (fault := fault_of(slip, REPOSITORY))]
    print("\n".join([*lost, f"{len(chosen)} slips, {len(lost)} without their place"]))
    if given.check or lost:
        return 1 if lost else 0
    given.out.mkdir(parents=True, exist_ok=True)
    results = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        root = Path(folder)
        copy_tree(root)
        if given.at_once:
            try_at_once(chosen, root)
            return 0
        if given.baseline:
            for files in sorted({tuple(slip.pytest_arguments) for slip in chosen}):
                outcome, test, spent, _ = run_tests(root, files, 20 * given.seconds)
                print(f"{outcome} in {spent:.1f} s without a slip: {' '.join(files)} {test or ''}", flush=True)
                if outcome != "passed":
                    return 1
        with open(given.out / "slips.jsonl", "a", encoding="utf-8") as out:
            for slip in chosen:
                results.append(try_slip(slip, root, given.seconds))
                out.write(json.dumps(results[-1]) + "\n")
                out.flush()
                last = results[-1]
                print(
                    f"{last['outcome']:8} {last['seconds']:5.1f} s  {slip.file}: {last['test']} <- {slip.new!r}",
                    flush=True,
                )
    (given.out / "slips.md").write_text(table(all_results(given.out / "slips.jsonl")), encoding="utf-8")
    noticed = sum(one["noticed"] for one in results)
    print(f"{noticed} of {len(results)} noticed; the table is in {given.out / 'slips.md'}")
    return 0 if noticed >= given.floor * len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
