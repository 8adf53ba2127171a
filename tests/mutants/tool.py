"""Mutation testing of one room of the library with mutmut: each operator, constant and call changed in turn.

    python tests/mutants/tool.py verification                the room's mutants, against its unit tests
    python tests/mutants/tool.py sampling requests           those of one module, or of several
    python tests/mutants/tool.py sampling --sample 150       150 of them, the same at each run
    python tests/mutants/tool.py sampling --again            those that no test noticed at the last run
    python tests/mutants/tool.py sampling --record           the figures into docs/measured/mutants.csv

mutmut wants the library in `src/`, and writes its mutants beside it: the tree is copied to `work/mutants/<room>`, which
is kept, so that a second run of the whole room tries only what changed. A mutant is tried against the tests of its room
that call the changed function, the fastest first. A mutant without such a test counts as survived. Survivors are
printed as a diff. A survivor of `equivalent.py` changes nothing and does not count. `--floor` sets the exit status.
"""

import argparse
import csv
import datetime
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from equivalent import reason_of

REPOSITORY = Path(__file__).parents[2]
MEASURED = REPOSITORY / "docs" / "measured" / "mutants.csv"
COPIED = ("workflow", "tests", "config", "envs", "profiles", "Snakefile")
TESTS = {
    # room -> its tests, where they are not the folder of its name alone
    "verification": ["tests/unit/verification", "tests/unit/programs/test_stages.py", "tests/unit/tasks"],
    "sampling": ["tests/unit/sampling", "tests/unit/peer_review/test_settings_review.py"],
    "programs": ["tests/unit/programs", "tests/unit/training/test_settings_rows.py"],
    "tasks": ["tests/unit/tasks", "tests/unit/sampling/test_sampler.py"],
}
NOT_TRIED = {
    "sampling/backends/vllm.py": "each mutant would load vLLM for ten seconds; tests with the mark `vllm` call it",
    "programs/worker.py": "runs in an interpreter of its own, without mutmut; tests/hostile tries it",
}
"""Modules that mutmut leaves alone, and why. Slips of slips.py are put into them."""

ROOMS = ("verification", "training", "sampling", "programs", "peer_review", "evaluation", "jobs", "tasks")
FLOOR = 0.9
SEED = 11
NOTICED = ("killed", "timeout", "segfault")
COLUMNS = ("room", "mutants", "tried", "noticed", "equivalent", "survived", "slowest_test", "date")


def prepare(folder: Path, room: str, modules: list[str], tests: list[str]) -> None:
    """Copy the tree, the library in `src/`, and say in its pyproject what is mutated and which tests are run."""
    ignored = shutil.ignore_patterns("__pycache__", ".snakemake", "bench", "mutants", "hostile", "golden", "workflow")
    for name in COPIED:
        source, target = REPOSITORY / name, folder / name
        if not source.is_dir():
            shutil.copy(source, target)
            continue
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=ignored if name == "tests" else shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(folder / "src", ignore_errors=True)
    shutil.copytree(folder / "workflow" / "distillery", folder / "src" / "distillery")
    values = {
        "only_mutate": [f"src/distillery/{room}/{module}.py" for module in modules or ["*"]],
        "do_not_mutate": [f"src/distillery/{name}" for name in NOT_TRIED],
        "pytest_add_cli_args_test_selection": tests or TESTS.get(room, [f"tests/unit/{room}"]),
    }
    settings = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    more = "[tool.mutmut]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
    settings = settings.replace("[tool.mutmut]\n", more).replace('pythonpath = ["workflow"]', 'pythonpath = ["src"]')
    shutil.copy(Path(__file__).parent / "fresh_caches.py", folder / "tests")
    settings = settings.replace("pytest_add_cli_args = [", 'pytest_add_cli_args = ["-p", "tests.fresh_caches", ')
    (folder / "pyproject.toml").write_text(settings, encoding="utf-8")


def names_of_mutants() -> list[str]:
    """Every mutant of the modules that the settings of the current folder name, in the order of a seeded draw."""
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.file_utils import walk_mutatable_files
    from mutmut.utils.format_utils import get_mutant_name

    names = [
        get_mutant_name(path, mutant)
        for path in walk_mutatable_files()
        for mutant in mutate_file_contents(str(path), path.read_text(encoding="utf-8")).mutant_names
    ]
    # By digest, so that a change of one function leaves the draw among all others as it was.
    return sorted(names, key=lambda name: hashlib.sha256(f"{SEED}:{name}".encode()).digest())


def outcomes_of(names: list[str]) -> list[dict[str, Any]]:
    """What mutmut wrote about mutants: outcome, seconds, the lines that differ, and why it is equivalent."""
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.file_utils import walk_mutatable_files
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    found, wanted = [], set(names)
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        file = str(path.relative_to("src/distillery"))
        for name, code in data.exit_code_by_key.items():
            if name not in wanted:
                continue
            outcome = status_by_exit_code[code]
            mutant = {"name": name, "file": file, "outcome": outcome}
            if outcome not in NOTICED:
                function, _ = orig_function_and_class_names_from_key(name)
                lines = get_diff_for_mutant(name, path=path).splitlines()[3:]
                old, new = ("\n".join(line[1:].strip() for line in lines if line[0] == sign) for sign in "-+")
                mutant |= {"old": old, "new": new, "equivalent": reason_of(file, function, old, new)}
            found.append(mutant)
    return found


def durations() -> dict[str, float]:
    """Seconds of each test of the room without a mutant.

    A test with a backslash in its id ends this program: pytest would not find it by its id and end with an error, which
    would count as noticed.
    """
    seconds = json.loads(Path("mutants/mutmut-stats.json").read_text(encoding="utf-8"))["duration_by_test"]
    if unfit := [test for test in seconds if "\\" in test]:
        sys.exit(f"tests with a backslash in their id: {unfit}")
    return seconds


def record(figures: dict[str, Any]) -> None:
    """Put the figures of a room in place of its earlier ones."""
    rows = []
    if MEASURED.exists():
        with open(MEASURED, encoding="utf-8", newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if row["room"] != figures["room"]]
    rows = sorted([*rows, {name: figures[name] for name in COLUMNS}], key=lambda row: ROOMS.index(row["room"]))
    with open(MEASURED, "w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def report(outcomes: list[dict[str, Any]]) -> None:
    """Print what survived, each with the lines that differ."""
    for mutant in outcomes:
        if mutant["outcome"] not in NOTICED:
            word = f"equivalent: {mutant['equivalent']}" if mutant["equivalent"] else mutant["outcome"]
            print(f"{mutant['name']}: {word}\n    - {mutant['old']}\n    + {mutant['new']}")


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("room", choices=ROOMS)
    parser.add_argument("modules", nargs="*", help="modules of the room, without .py; all without any")
    parser.add_argument("--tests", nargs="+", default=[], help="these tests instead of the room's")
    parser.add_argument("--floor", type=float, default=FLOOR, help="share that must be noticed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--sample", type=int, help="try as many, drawn with a fixed seed; all of the room without it")
    parser.add_argument("--again", action="store_true", help="run only those that were not noticed at the last run")
    parser.add_argument("--record", action="store_true", help=f"write the figures to {MEASURED.name}")
    given = parser.parse_args()
    if given.record and (given.modules or given.tests):
        parser.error("--record is for whole rooms")
    folder = REPOSITORY / "work" / "mutants" / given.room
    folder.mkdir(parents=True, exist_ok=True)
    prepare(folder, given.room, given.modules, given.tests)
    # mutmut reads its settings from the current folder, and sets the path itself; a folder that is not there yet when
    # Python starts would never be found.
    os.chdir(folder)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    every = names_of_mutants()
    names = every[: given.sample]
    run = names if given.sample else []
    if given.again:
        run = [mutant["name"] for mutant in outcomes_of(names) if mutant["outcome"] not in NOTICED]
    if run or not given.again:
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(given.processes), *run]
        subprocess.run(command, env=environment, check=True)
    outcomes = outcomes_of(names)
    report(outcomes)
    noticed = [mutant for mutant in outcomes if mutant["outcome"] in NOTICED]
    equivalent = sum(bool(mutant.get("equivalent")) for mutant in outcomes)
    figures = {
        "room": given.room,
        "mutants": len(every),
        "tried": len(outcomes),
        "noticed": len(noticed),
        "equivalent": equivalent,
        "survived": len(outcomes) - len(noticed) - equivalent,
        "slowest_test": round(max(durations().values()), 1),
        "date": datetime.date.today().isoformat(),
    }
    print(json.dumps({**figures, "modules": given.modules, "tests": given.tests}))
    if given.record:
        record(figures)
    return 0 if noticed and len(noticed) >= given.floor * (len(outcomes) - equivalent) else 1


if __name__ == "__main__":
    sys.exit(main())
