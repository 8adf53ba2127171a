"""The staleness contract: what a change plans, and what it really costs, on a finished run with the real engine.

`planned` is what Snakemake puts on its list, `computed` what no cache could answer, `drawn` how many samples a model
was asked for. docs/staleness.md shows the same table: `UPDATE_STALENESS=1 pytest tests/workflow/test_staleness.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distillery.jobs.code_digest import NEUTRAL

from .contract import (
    Change,
    append,
    change_function,
    documented,
    markdown,
    no_change,
    rename_module,
    replace,
    settings,
    told,
)

pytestmark = pytest.mark.e2e

TEACHER = "results/verdicts/tiny/train/tiny-few-shot/verdicts.jsonl"


def touch_everything(project: Any) -> None:
    for path in sorted(project.root.rglob("*")):
        if path.is_file() and ".snakemake" not in path.parts and "work" not in path.parts:
            path.touch()


def remarks(project: Any) -> None:
    """A comment and another docstring in every library module and script."""
    for path in sorted((project.root / "workflow").rglob("*.py")):
        path.write_text(path.read_text().replace('"""', '"""So it is: ', 1) + "\n# a remark\n")
    (project.root / "README.md").write_text("Another text\n")


def unrelated_module(project: Any) -> None:
    (project.root / "workflow/distillery/unrelated.py").write_text("VALUE = 1\n")
    project.append("workflow/distillery/cli/__init__.py", "\nSPARE = 1\n")


def another_arm(project: Any) -> None:
    project.edit(
        "config/experiments/tiny.yaml", "  - {recipe: mentor-kd}", "  - {recipe: mentor-kd}\n  - {recipe: fine-tune}"
    )


def another_sweep(project: Any) -> None:
    project.edit(
        "config/experiments/tiny.yaml",
        "  - {recipe: mentor-kd}",
        "  - {recipe: mentor-kd}\n  - {recipe: mentor-kd, sweep: {objective.temperature: [1.0, 3.0]}}",
    )


BELOW_TRAINING = {"sample_predictions": 2, "score": 2, "tables": 1, "all": 1}
BELOW_VERDICTS = {
    "compose": 3,
    "train_mentor": 1,
    "train_student": 2,
    "sample_mentor": 1,
    "verify_mentor": 1,
    "soft_labels": 1,
    **BELOW_TRAINING,
}
SAMPLER_CHANGED = {"sample_teacher": 1, "verify": 1, **BELOW_VERDICTS}

CHANGES = [
    Change("nothing", no_change, computed={}),
    Change("every file touched", touch_everything, computed={}),
    Change("comments and docstrings everywhere, README", remarks, computed={}),
    Change("an unrelated module", unrelated_module, computed={}),
    Change(
        "an unused function in a module of training",
        append("workflow/distillery/training/trainers.py", "\n\ndef unused(logits):\n    return logits * 2\n"),
        computed={},
    ),
    Change(
        "a module renamed, with its imports",
        rename_module("evaluation.intervals", "evaluation.bounds"),
        computed={},
    ),
    Change(
        "samples per question 2 → 4",
        replace("config/samplers/tiny-few-shot.yaml", "samples: 2", "samples: 4"),
        planned=SAMPLER_CHANGED,
        computed={"sample": 1, "verify": 1},
        drawn=12,
        target=TEACHER,
    ),
    Change(
        "sampling temperature",
        replace("config/samplers/tiny-few-shot.yaml", "temperature: 1.0", "temperature: 0.9"),
        planned=SAMPLER_CHANGED,
        computed={"sample": 1, "verify": 1},
        drawn=12,
        target=TEACHER,
    ),
    Change(
        "the prompt's text",
        replace("config/prompts/few-shot-cot.yaml", "exemplars: 4", "exemplars: 3"),
        planned=SAMPLER_CHANGED,
        computed={"sample": 1, "verify": 1},
        drawn=12,
        target=TEACHER,
    ),
    Change(
        "the teacher's revision",
        settings("config/models.yaml", "tiny-random.seed", 1),
        planned={"base_model": 2, "check_vocabulary": 1, **SAMPLER_CHANGED, "sample_predictions": 3, "score": 3},
        computed={"base_model": 1, "sample": 1, "verify": 1},
        drawn=12,
        target=TEACHER,
    ),
    Change(
        "code of the answer extractor, verdicts stay",
        change_function("grade"),
        planned={"check_task": 1, "verify": 1, **BELOW_VERDICTS, "score": 3},
        computed={"check_task": 1, "score": 3, "verify": 2},
    ),
    Change(
        "learning rate of one recipe",
        settings("config/setups.yaml", "tiny.recipes.fine-tune-cot.train", {"learning_rate": 0.002}),
        planned={"train_student": 1, "sample_predictions": 1, "score": 1, "tables": 1, "all": 1},
        computed={"train": 1, "sample": 1, "score": 1, "tables": 1},
        drawn=5,
    ),
    Change(
        "an objective's weight",
        replace("config/recipes/mentor-kd.yaml", "lambda: 0.3", "lambda: 0.4"),
        planned={"train_student": 1, "sample_predictions": 1, "score": 1, "tables": 1, "all": 1},
        computed={"train": 1, "sample": 1, "score": 1, "tables": 1},
        drawn=5,
    ),
    Change(
        "a sweep over the temperature of soft labels",
        another_sweep,
        planned={
            "compose": 2,
            "soft_labels": 2,
            "train_student": 2,
            "sample_predictions": 2,
            "score": 2,
            "tables": 1,
            "all": 1,
        },
        computed={"sample": 2, "score": 2, "tables": 1, "train": 2},
        drawn=10,
    ),
    Change(
        "one more recipe",
        another_arm,
        planned={"compose": 1, "train_student": 1, "sample_predictions": 1, "score": 1, "tables": 1, "all": 1},
        computed={"compose": 1, "train": 1, "sample": 1, "score": 1, "tables": 1},
        drawn=5,
    ),
    Change(
        "one more seed",
        replace("config/experiments/tiny.yaml", "students:", "seeds: [1, 2]\nstudents:"),
        planned={**BELOW_VERDICTS, "score": 2},
        computed={"compose": 1, "train": 1},
        target="results/models/tiny/tiny/fine-tune-cot/tiny-random-half/seed2/manifest.json",
    ),
    Change(
        "one more student",
        replace(
            "config/experiments/tiny.yaml", "students: [tiny-random-half]", "students: [tiny-random-half, tiny-random]"
        ),
        planned={
            "check_vocabulary": 1,
            "compose": 2,
            "soft_labels": 1,
            "train_mentor": 2,
            "sample_predictions": 2,
            "score": 2,
            "tables": 1,
            "all": 1,
        },
        computed={"train": 1},
        target="results/models/tiny/tiny/fine-tune-cot/tiny-random/seed1/manifest.json",
    ),
    Change(
        "a published number",
        settings(
            "config/experiments/tiny.yaml",
            "published",
            [
                {
                    "task": "tiny",
                    "recipe": "mentor-kd",
                    "model": "tiny-random-half",
                    "accuracy": 5.0,
                    "source": "Table 1",
                }
            ],
        ),
        planned={"tables": 1, "all": 1},
        computed={"tables": 1},
    ),
    Change(
        "a caption",
        replace("config/experiments/tiny.yaml", "title: Tiny", "title: Tinier"),
        planned={"tables": 1, "all": 1},
        computed={"tables": 1},
    ),
]


@pytest.mark.parametrize("change", CHANGES, ids=[change.what for change in CHANGES])
def test_a_change_plans_and_computes_exactly_what_it_must(finished, change):
    change.make(finished)
    planned = finished.planned()
    ran = finished.run(*([change.target] if change.target else []))
    assert (planned, ran.computed, ran.drawn) == (change.planned, change.computed, change.drawn)
    assert finished.planned(*([change.target] if change.target else [])) == {}


def test_a_grader_that_leaves_the_verdicts_as_they_were_trains_and_samples_nothing(finished):
    """Early cut-off: the row of the contract, with the stages behind verification named."""
    change_function("grade")(finished)
    ran = finished.run()
    assert not {"train", "sample", "compose", "tables"} & set(ran.computed)
    assert ran.restored == {"compose": 3, "sample": 3, "soft_labels": 1, "tables": 1, "train": 3}


def test_a_setting_changed_and_changed_back_computes_nothing(finished):
    before = finished.records()
    finished.edit("config/recipes/mentor-kd.yaml", "lambda: 0.3", "lambda: 0.4")
    finished.run("results/rows/tiny/tiny/mentor-kd/tiny-random-half/seed1/rows.jsonl")
    finished.run()
    assert finished.records() != before
    finished.edit("config/recipes/mentor-kd.yaml", "lambda: 0.4", "lambda: 0.3")
    ran = finished.run()
    assert ran.computed == {} and finished.records() == before


def test_a_fresh_clone_with_the_caches_plans_all_and_computes_nothing(finished_template, project):
    work = finished_template.root / "work"
    ran = project.run(DISTILLERY_STORE=str(work / "completions"), DISTILLERY_CACHE=str(work / "cache"))
    assert ran.computed == {} and sum(ran.restored.values()) == 23
    assert project.records() == finished_template.records()


def test_a_moved_folder_plans_nothing(finished, tmp_path):
    moved = finished.moved(tmp_path / "elsewhere")
    assert moved.planned() == {}


@pytest.mark.parametrize(
    "arguments", [["--cores", "7", "--workflow-profile", "profiles/workstation-gpu"], ["--cores", "1", "--verbose"]]
)
def test_another_profile_or_log_level_or_number_of_cores_plans_nothing(finished, arguments):
    assert "Nothing to be done" in finished.snakemake("-n", *arguments, DISTILLERY_LOG_LEVEL="DEBUG").stdout


def test_the_gold_answer_of_one_question_asks_no_model(finished):
    """A task from a file: one more row of the contract."""
    data = finished.root / "data"
    data.mkdir()
    rows = [f'{{"q": "What is {n} and {n}?", "a": "{2 * n}"}}\n' for n in range(1, 16)]
    (data / "sums.jsonl").write_text("".join(rows[:12]))
    (data / "test.jsonl").write_text("".join(rows[12:]))
    (finished.root / "config/tasks/sums.yaml").write_text(
        "task: sums\ntitle: Sums\nsource: {kind: file, files: {train: data/sums.jsonl, test: data/test.jsonl}}\n"
        'question: "{{ q }}"\ngold: "{{ a }}"\nanswer: number\nsizes: {dev: 2}\n'
        "exemplars: {written: [" + ", ".join(["{question: q, rationale: r, gold: '1'}"] * 4) + "]}\n"
    )
    target = "results/verdicts/sums/train/tiny-few-shot/verdicts.jsonl"
    first = finished.run(target)
    assert first.drawn == 20
    asked = json.loads((finished.root / "results/questions/sums/train.jsonl").read_text().splitlines()[0])
    finished.edit(
        "data/sums.jsonl", f'"{asked["question"]}", "a": "{asked["gold"]}"', f'"{asked["question"]}", "a": "1"'
    )
    assert finished.planned(target) == {"questions": 1, "check_task": 1, "sample_teacher": 1, "verify": 1}
    again = finished.run(target)
    assert again.computed == {"check_task": 1, "questions": 1, "sample": 1, "verify": 1}
    assert again.drawn == 0 and "loading" not in again.output


def test_the_document_shows_the_contract_that_is_tested():
    def until(change: Change) -> str:
        return f" (run up to the {Path(change.target).parts[1]})" if change.target else ""

    table = markdown(
        ["change", "planned by Snakemake", "computed", "completions generated"],
        [(row.what, told(row.planned), told(row.computed) + until(row), row.drawn) for row in CHANGES],
    )
    assert documented("contract", table) == table


TRACE = """
import json, runpy, sys, threading

library, script, record, out, *neutral = sys.argv[1:]
neutral = tuple(neutral)
found = set()


def note(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(library) and code.co_flags & 1:  # functions, not class bodies
        while frame is not None and frame.f_code.co_name != "<module>":  # what an import runs is another matter
            if frame.f_code.co_filename == script and frame.f_code.co_name == "main":
                found.add((code.co_filename, code.co_qualname))
            frame = frame.f_back
            if frame is not None and frame.f_code.co_filename.startswith(neutral):
                break  # what a message or a log calls cannot change a result


sys.argv = [script, record]
threading.setprofile(note)
sys.setprofile(note)
try:
    runpy.run_path(script, run_name="__main__")
finally:
    sys.setprofile(None)
    json.dump(sorted(found), open(out, "w"))
"""


def test_every_function_that_a_stage_calls_is_part_of_its_digest(finished, tmp_path):
    """What runs is watched from outside, so the analysis of the syntax is checked by something else than itself."""
    library = finished.root / "workflow/distillery"
    records = {json.loads(path.read_text())["stage"]: path for path in finished.root.rglob("*provenance.json")}
    (tmp_path / "trace.py").write_text(TRACE)
    ran: dict[str, set[str]] = {}
    for stage, record in sorted(records.items()):
        script = finished.root / "workflow/scripts" / f"{stage}.py"
        command = [sys.executable, tmp_path / "trace.py", library, script, record, tmp_path / "found.json"]
        command += [library.parent / name.replace(".", "/") for name in NEUTRAL]
        subprocess.run(
            command,
            cwd=finished.root,
            check=True,
            capture_output=True,
            env={
                **os.environ,
                "DISTILLERY_CACHE": "off",
                "PYTHONPATH": str(library.parent),
                "CUDA_VISIBLE_DEVICES": "",
                "HF_HUB_OFFLINE": "1",
            },
        )
        reached = json.loads(record.read_text())["definitions"].keys()
        for file, name in json.loads((tmp_path / "found.json").read_text()):
            module = ".".join(["distillery", *Path(file).relative_to(library).with_suffix("").parts])
            module = module.removesuffix(".__init__")
            if not name.startswith("<") and not module.startswith(NEUTRAL):
                ran.setdefault(stage, set()).add(f"{module}.{name.split('.')[0]}")
        assert ran[stage] <= reached, f"{stage}: {sorted(ran[stage] - reached)}"
    assert {"train", "verify", "questions", "compose", "score", "tables"} <= ran.keys()
    assert sum(map(len, ran.values())) > 100
