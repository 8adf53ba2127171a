"""Mutation testing of one room of the library with mutmut: each operator, constant and call changed in turn.

    python tests/mutants/tool.py verification         the room's mutants, against its unit tests
    python tests/mutants/tool.py sampling requests    those of one module

mutmut wants the library in `src/`, and writes its mutants beside it: the tree is copied to `work/mutants/<room>`, which
is kept, so that a second run tries only what changed. Prints how many mutants were noticed; `--floor` sets the exit
status.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
COPIED = ("workflow", "tests", "config", "envs", "profiles", "Snakefile")
TESTS = {
    # room -> its tests, where they are not the folder of its name alone
    "verification": ["tests/unit/verification", "tests/unit/programs/test_stages.py", "tests/unit/tasks"],
    "sampling": ["tests/unit/sampling", "tests/unit/peer_review/test_settings_review.py"],
    "programs": ["tests/unit/programs", "tests/unit/training/test_settings_rows.py"],
    "tasks": ["tests/unit/tasks", "tests/unit/sampling/test_sampler.py"],
}
ROOMS = ("verification", "training", "sampling", "programs", "peer_review", "evaluation", "jobs", "tasks")
FLOOR = 0.9


def prepare(folder: Path, room: str, module: str | None) -> None:
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
    mutated = f"src/distillery/{room}/{module or '*'}{'.py' if module else ''}"
    settings = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    more = (
        f"[tool.mutmut]\nonly_mutate = [{json.dumps(mutated)}]\n"
        f"pytest_add_cli_args_test_selection = {json.dumps(TESTS.get(room, [f'tests/unit/{room}']))}\n"
    )
    settings = settings.replace("[tool.mutmut]\n", more).replace('pythonpath = ["workflow"]', 'pythonpath = ["src"]')
    (folder / "pyproject.toml").write_text(settings, encoding="utf-8")


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("room", choices=ROOMS)
    parser.add_argument("module", nargs="?", help="one module of the room, without .py")
    parser.add_argument("--floor", type=float, default=FLOOR, help="share that must be noticed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    folder = REPOSITORY / "work" / "mutants" / given.room
    folder.mkdir(parents=True, exist_ok=True)
    prepare(folder, given.room, given.module)
    # mutmut sets the path itself; a folder that is not there yet when Python starts would never be found.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    mutmut = [sys.executable, "-m", "mutmut"]
    subprocess.run([*mutmut, "run", "--max-children", str(given.processes)], cwd=folder, env=environment, check=False)
    subprocess.run([*mutmut, "export-cicd-stats"], cwd=folder, env=environment, check=True)
    counts = json.loads((folder / "mutants" / "mutmut-cicd-stats.json").read_text(encoding="utf-8"))
    tried = counts["total"] - counts.get("skipped", 0)
    noticed = counts["killed"] + counts.get("timeout", 0)
    print(json.dumps({"room": given.room, "module": given.module, "mutants": tried, "noticed": noticed, **counts}))
    return 0 if tried and noticed >= given.floor * tried else 1


if __name__ == "__main__":
    sys.exit(main())
