"""plan, why and accept, on a finished run: they tell what the next run then really does."""

import json
import os
import re
import subprocess
import sys

import pytest

from .contract import change_function

pytestmark = pytest.mark.e2e

LESSON = "results/committees/tiny/tiny/tiny-random-half"
MENTOR_KD = "results/models/tiny/tiny/mentor-kd/tiny-random-half/seed1"


def tool(project, *arguments: str, check: bool = True) -> str:
    """Run a command of the command line in the project's folder."""
    done = subprocess.run(
        [sys.executable, "-m", "distillery.cli", *arguments],
        cwd=project.root,
        env={**os.environ, "COLUMNS": "250", "PYTHONPATH": str(project.root / "workflow")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert not check or done.returncode == 0, done.stdout
    return done.stdout


def row(told: str, stage: str) -> dict[str, str]:
    """Cells of a stage in the printed plan, by their headings: of its jobs, and of what models will do."""
    headings = ["restored", "computed", "depends", "job-seconds"], ["samples", "at most", "stored", "tokens", "money"]
    lines = [line.split()[1:] for line in told.splitlines() if line.split()[:1] == [stage]]
    return {
        heading: cell
        for names, cells in zip(headings, lines, strict=False)
        for heading, cell in zip(names, cells, strict=True)
    }


def status(told: str, stage: str) -> tuple[str, str, str]:
    """How many jobs of a stage are restored, computed, and depend on others; `-` is none."""
    cells = row(told, stage)
    return cells["restored"], cells["computed"], cells["depends"]


def test_a_finished_run_is_up_to_date(finished):
    assert "nothing to be done" in tool(finished, "plan")
    told = tool(finished, "why", "tiny/mentor-kd")
    assert "up to date" in told and "sample_teacher" in told


def test_plan_counts_what_the_next_run_draws_trains_and_restores(finished):
    finished.edit("config/samplers/tiny-few-shot.yaml", "samples: 2", "samples: 3")
    told = tool(finished, "plan", "results/verdicts/tiny/train/tiny-few-shot/verdicts.jsonl")
    cells = row(told, "sample")
    assert status(told, "sample") == ("-", "1", "-")
    assert (cells["samples"], cells["stored"]) == ("6", "12")
    assert float(cells["job-seconds"].replace(",", "")) > 0
    assert row(told, "verify")["depends"] == "1", "what is behind it depends on what comes out"
    assert finished.run("results/verdicts/tiny/train/tiny-few-shot/verdicts.jsonl").drawn == 6


def test_plan_knows_what_the_cache_will_answer(finished):
    finished.edit("config/recipes/mentor-kd.yaml", "lambda: 0.3", "lambda: 0.4")
    told = tool(finished, "plan")
    assert status(told, "train") == ("-", "1", "-") and int(row(told, "train")["tokens"].replace(",", "")) > 100
    (finished.root / "results/tables/tiny/table.md").unlink()
    finished.edit("config/recipes/mentor-kd.yaml", "lambda: 0.4", "lambda: 0.3")
    assert status(tool(finished, "plan"), "tables") == ("1", "-", "-")


def drawn(project, record: str) -> int:
    """Samples that the committee's jobs of one kind have drawn in the last run."""
    paths = (project.root / LESSON / "members").glob(f"*/{record}.provenance.json")
    return sum(json.loads(path.read_text())["work"]["generated"] for path in paths)


def test_plan_counts_what_a_committee_will_be_asked(finished_mapd):
    """One mistake more, which is known before it is written, since the exam was graded."""
    rows = "results/rows/tiny/tiny/mapd/tiny-random-half/seed1/rows.jsonl"
    finished_mapd.edit("config/committees/tiny.yaml", "limit: 4", "limit: 5")
    told = tool(finished_mapd, "plan", rows)
    taught, reviewed = row(told, "ask_teachers")["samples"], row(told, "peer_review")["at most"]
    assert reviewed.startswith("≤")
    finished_mapd.run(rows)
    assert int(taught) == drawn(finished_mapd, "taught") > 0
    assert int(reviewed.strip("≤")) >= drawn(finished_mapd, "reviewed") > 0
    told = tool(finished_mapd, "plan", rows)
    assert "nothing to be done" in told


def test_plan_of_another_exam_is_an_upper_bound(finished_mapd):
    finished_mapd.edit("config/samplers/tiny-student-answers.yaml", "max_new_tokens: 12", "max_new_tokens: 11")
    told = tool(finished_mapd, "plan", f"{LESSON}/members/tiny-random/reviews.jsonl")
    cells = row(told, "ask_teachers")
    assert (cells["at most"], cells["stored"]) == ("≤24", "-"), (
        "four mistakes at most, three teachers, rationale and feedback"
    )
    # Two of three rationales have one reviewer here, the third has two that are asked in the same words; each is asked
    # for a critique and a score.
    cells = row(told, "peer_review")
    assert (cells["depends"], cells["at most"]) == ("1", "≤24")


def test_why_names_the_first_component_that_differs_with_old_and_new_value(finished):
    finished.edit("config/samplers/tiny-few-shot.yaml", "temperature: 1.0", "temperature: 0.9")
    told = tool(finished, "why", "tiny/mentor-kd")
    assert "from results/completions/tiny/train/tiny-few-shot/completions.jsonl on" in told
    assert "params.spec.decoding.temperature: 1.0 → 0.9" in told


def test_why_names_the_definition_that_changed(finished):
    change_function("mentor_kd_loss")(finished)
    told = tool(finished, "why", MENTOR_KD + "/manifest.json")
    assert re.findall(r"code of ([\w.]+): (\w+)", told) == [
        ("distillery.training.objectives.mentor_kd.mentor_kd_loss", "changed")
    ]


def test_why_goes_down_to_prompts_and_samples_of_a_question(finished):
    rows = finished.root / "results/rows/tiny/tiny/mentor-kd/tiny-random-half/seed1/rows.jsonl"
    taught = json.loads(rows.read_text().splitlines()[0])
    told = tool(finished, "why", str(rows.relative_to(finished.root)), "--question", taught["qid"])
    assert "prompt: Q:" in told and taught["target"].strip().splitlines()[0][:20] in told


def test_a_cell_that_does_not_exist_is_refused_with_those_that_do(finished):
    told = tool(finished, "why", "tiny/nope", check=False)
    assert "no cell of this table" in told and "tiny/tiny/mentor-kd/tiny-random-half/seed1" in told


def test_an_accepted_refactoring_is_restored_and_stays_on_record(finished):
    before = finished.records()
    change_function("mentor_kd_loss")(finished)
    assert "its inputs are computed again" in tool(
        finished, "accept", MENTOR_KD + "/manifest.json", "--reason", "no effect", check=False
    )
    told = tool(finished, "accept", MENTOR_KD + "/manifest.json", "--upstream", "--reason", "a spare statement")
    assert "mentor_kd_loss: changed" in told
    ran = finished.run(MENTOR_KD + "/manifest.json")
    assert ran.computed == {} and ran.restored["train"] == 2
    record = json.loads((finished.root / MENTOR_KD / "provenance.json").read_text())
    (accepted,) = record["accepted"]
    assert accepted["reason"] == "a spare statement" and accepted["by"] and accepted["at"]
    assert accepted["differences"][0]["component"] == "code of distillery.training.objectives.mentor_kd.mentor_kd_loss"
    assert finished.records() == before
    assert "a spare statement" in tool(finished, "why", MENTOR_KD + "/manifest.json")


def test_an_output_that_is_not_what_its_job_made_is_not_accepted(finished):
    (finished.root / MENTOR_KD / "summary.json").write_text("{}")
    change_function("mentor_kd_loss")(finished)
    told = tool(finished, "accept", MENTOR_KD + "/manifest.json", "--upstream", "--reason", "x", check=False)
    assert "not the file that its job made" in told


def test_a_spent_budget_stops_the_run_cleanly_and_the_next_goes_on(finished):
    target = "results/completions/tiny/train/tiny-few-shot/completions.jsonl"
    finished.edit("config/samplers/tiny-few-shot.yaml", "samples: 2", "samples: 5")
    finished.edit("config/config.yaml", "experiments: [tiny]", "experiments: [tiny]\nbudget: {samples: 4}")
    stopped = finished.snakemake("--cores", "2", target, check=False)
    assert stopped.returncode != 0
    assert "the budget of this run is spent: 4 of 4 samples" in stopped.stdout and "14 are missing" in stopped.stdout
    finished.edit("config/config.yaml", "{samples: 4}", "{samples: 14}")
    assert finished.run(target).drawn == 14


def test_cache_tools_keep_what_tables_come_from(finished):
    assert "every object is whole" in tool(finished, "cache", "verify")
    finished.edit("config/recipes/mentor-kd.yaml", "lambda: 0.3", "lambda: 0.4")
    finished.run("results/rows/tiny/tiny/mentor-kd/tiny-random-half/seed1/rows.jsonl")
    told = tool(finished, "cache", "gc", "--older-than", "0s", "--yes")
    assert "removed" in told and "every object is whole" in tool(finished, "cache", "verify")
    finished.edit("config/recipes/mentor-kd.yaml", "lambda: 0.4", "lambda: 0.3")
    (finished.root / "results/tables/tiny/table.md").unlink()
    ran = finished.run()
    assert ran.computed == {}
