"""Projects for tests: copies of the workflow with settings added, ways to run them, and what a run left."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from .scripted import ENDPOINT, Endpoint, write_questions

REPOSITORY = Path(__file__).parents[2]
TINY = Path(__file__).parent / "tiny"
FLOW = Path(__file__).parent / "flow"
DRAWN = r"distillery\.sampling\.sampler: .* from the store, (\d+) generated"


@dataclass(frozen=True)
class Ran:
    """What one run did: jobs by stage that were computed and that were restored, and samples that a model drew."""

    computed: dict[str, int]
    restored: dict[str, int]
    drawn: int
    output: str


@dataclass
class Project:
    """A copy of the workflow in a folder, and ways to run it."""

    root: Path

    def snakemake(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess:
        """Run snakemake here; its output is in `.stdout`.

        Models are asked through transformers, which starts in a second, unless DISTILLERY_BACKEND names another engine.
        """
        command = [sys.executable, "-m", "snakemake", *arguments]
        done = subprocess.run(
            command,
            cwd=self.root,
            env={
                "DISTILLERY_BACKEND": "transformers",
                "DISTILLERY_TERMINAL": "INFO",  # what was computed and what restored
                **os.environ,
                "CUDA_VISIBLE_DEVICES": "",
                "HF_HUB_OFFLINE": "1",
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"snakemake {' '.join(arguments)} failed:\n{done.stdout[-8000:]}")
        return done

    def run(self, *targets: str, **environment: str) -> Ran:
        """Run the workflow here and tell what was really computed."""
        output = self.snakemake("--cores", "2", *targets, **environment).stdout
        told = re.findall(r"distillery\.jobs\.runner: ([a-z_]+) (computed|restored)", output)
        return Ran(
            computed=dict(sorted(Counter(stage for stage, how in told if how == "computed").items())),
            restored=dict(sorted(Counter(stage for stage, how in told if how == "restored").items())),
            drawn=sum(map(int, re.findall(DRAWN, output))),
            output=output,
        )

    def planned(self, *targets: str) -> dict[str, int]:
        """Rule -> number of jobs that a dry run plans; empty when there is nothing to be done."""
        told = self.snakemake("-n", "--quiet", "rules", "--cores", "2", *targets).stdout
        table = re.findall(r"^([a-z_]+) +(\d+)$", told, flags=re.MULTILINE)
        if not table and "Nothing to be done" not in told:
            raise AssertionError(f"neither a plan nor nothing to be done:\n{told}")
        return {rule: int(count) for rule, count in table if rule not in {"total", "job"}}

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text that must be there."""
        path = self.root / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} does not hold {old!r}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def append(self, file: str, text: str) -> None:
        """Write a text behind what is in a file."""
        with open(self.root / file, "a", encoding="utf-8") as out:
            out.write(text)

    def change_yaml(self, file: str, change: Callable[[dict], object]) -> None:
        """Apply `change` to the content of a YAML file."""
        path = self.root / file
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def moved(self, root: Path) -> "Project":
        """The same project at another place."""
        self.root.rename(root)
        return Project(root)

    def records(self) -> dict[str, bytes]:
        """Every record file under results/, by path: what must be equal between two runs. Tables print seconds too."""
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted((self.root / "results").rglob("*"))
            if path.suffix == ".jsonl" or path.name == "scores.json"
        }


def make_project(root: Path, added: Path = TINY, experiments: str = "[tiny]") -> Project:
    """Copy the workflow into `root`, with the settings of a folder added; `rule all` makes `experiments`."""
    root.mkdir(parents=True, exist_ok=True)
    shutil.copy(REPOSITORY / "Snakefile", root)
    ignored = shutil.ignore_patterns("__pycache__", ".snakemake")
    for folder in ("workflow", "config", "profiles", "envs"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=ignored)
    for path in sorted(added.rglob("*.yaml")):
        target = root / "config" / path.relative_to(added)
        text = path.read_text().replace("{endpoint}", ENDPOINT)
        if target.name in {"models.yaml", "setups.yaml"}:
            merged = yaml.safe_load(target.read_text()) | yaml.safe_load(text)
            text = yaml.safe_dump(merged, sort_keys=False)
        target.write_text(text)
    (root / "config" / "config.yaml").write_text(f"experiments: {experiments}\n")
    return Project(root)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills once for the whole test run: workers of pytest-xdist wait for the first of them.

    A folder whose making failed is not kept, so that each worker shows the failure.
    """
    base = factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = base / name
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = base / f"{name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


def run_tiny(root: Path) -> None:
    """With the engine that users have: vLLM, where it is installed."""
    make_project(root).snakemake("--cores", "2", DISTILLERY_BACKEND="auto")


def run_tiny_mapd(root: Path) -> None:
    make_project(root, experiments="[tiny_mapd]").snakemake("--cores", "2")


@dataclass(frozen=True)
class Flow:
    """The finished run of the scripted project: its folder, what its jobs asked the endpoint, and what was planned."""

    root: Path
    requests: list[dict]
    unknown: list[str]
    jobs: list[dict]
    environment: dict[str, str]

    def read(self, path: str) -> dict:
        return json.loads((self.root / "results" / path).read_text())

    def rows(self, path: str) -> list[dict]:
        return [json.loads(line) for line in (self.root / "results" / path).read_text().splitlines()]


STUDENT = "flow-student/seed1"
FLOW_TARGETS = [
    "results/tables/flow/table.md",
    f"results/audits/flow/flow/mapd/{STUDENT}/audit.html",
    *(
        f"results/rows/flow/flow/{recipe}/{STUDENT}/rows.jsonl"
        for recipe in (
            *("mapd-single", "mapd-without-review", "mapd-answer-check", "mapd-review-and-check"),
            *("mapd-random-drop", "mapd-paper", "mapd.round=2", "pad-without-refinement"),
        )
    ),
    f"results/models/flow/flow/fine-tune-cot-matched/{STUDENT}/manifest.json",
    f"results/rows/flow/flow-gated/mapd/{STUDENT}/rows.jsonl",
]


def make_flow_project(root: Path) -> Project:
    """A project of the scripted experiments in which nothing has run."""
    made = make_project(root, FLOW, "[flow]\nsandbox: seccomp\nbudget: {samples: 5000}")
    write_questions(root / "data" / "flow")
    (root / f"data/flow/sheet-flow-flow-people-fine-tune-cot-{STUDENT.replace('/', '-')}.csv").touch()
    return made


def carry_out(project: Project, mode: str, *targets: str, **environment: str) -> dict:
    """Plan some targets (`plan`), or make them (`run`); the planned jobs and the environment that the rules set."""
    library = str(project.root / "workflow")
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "carry_out.py", mode, "planned.json", *targets],
        cwd=project.root,
        env={
            **os.environ,
            "CUDA_VISIBLE_DEVICES": "",
            "HF_HUB_OFFLINE": "1",
            "DISTILLERY_BACKEND": "transformers",
            "PYTHONPATH": library,
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return json.loads((project.root / "planned.json").read_text())


def run_flow(root: Path) -> None:
    endpoint = Endpoint()
    try:
        carry_out(make_flow_project(root), "run", *FLOW_TARGETS, **endpoint.environment())
    finally:
        endpoint.close()
        (root / "endpoint.json").write_text(json.dumps([endpoint.requests, endpoint.unknown]))
