"""What is planned: the graph of each shipped table, and what a change makes stale in a finished run."""

import os
import re
from pathlib import Path

import pytest

GRAPHS = Path(__file__).parent / "graph"


@pytest.mark.parametrize(
    "experiment", ["miniature", "miniature_ablations", "mapd_svamp_replay", "mapd_svamp_replay_arms"]
)
def test_the_graph_of_each_table_is_the_one_in_the_repository(project, experiment):
    """Rule and number of jobs. After a wanted change: UPDATE_GRAPHS=1 pytest tests/workflow/test_graph.py.

    Local files that a user brings are there, empty: a dry run reads none.
    """
    stem = "Llama-2-7b-chat-hf_svamp"
    local = [f"mapd/{stem}_{kind}_round0.json" for kind in ("false", "feedback", "rationale")]
    for name in [*local, "svamp/svamp.json"]:
        path = project.root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    planned = project.planned(f"results/tables/{experiment}/table.md")
    text = "".join(f"{rule} {count}\n" for rule, count in sorted(planned.items()))
    path = GRAPHS / f"{experiment}.txt"
    if os.environ.get("UPDATE_GRAPHS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_a_fault_in_a_file_stops_the_run_before_any_job_and_names_it(project):
    project.edit("config/recipes/mentor-kd.yaml", "temperature: 2.0", "temprature: 2.0")
    done = project.snakemake("--cores", "1", check=False)
    assert done.returncode != 0
    assert "config/recipes/mentor-kd.yaml" in done.stdout
    assert "Did you mean `temperature`" in done.stdout
    assert not (project.root / "results").exists()


def test_a_task_whose_gold_does_not_pass_its_grader_stops_before_sampling(project):
    project.edit("config/tasks/tiny.yaml", "answer: number", "answer: choice")
    done = project.snakemake("--cores", "1", check=False)
    assert done.returncode != 0
    assert "does not pass its own grader" in done.stdout
    assert not list((project.root / "results").rglob("completions.jsonl"))


TRAINING = {
    *("train_mentor", "train_student", "sample_mentor", "verify_mentor", "compose"),
    *("predict", "score", "tables", "all"),
}
CHANGES = {
    "a task's title": ("config/tasks/tiny.yaml", "title: Tiny", "title: Tinier", {"tables", "all"}),
    "a learning rate": ("config/setups.yaml", "learning_rate: 0.001", "learning_rate: 0.002", TRAINING),
    "the training code": (
        "workflow/distillery/training/objectives.py",
        "IGNORE = -100",
        "IGNORE = -101",
        TRAINING,
    ),
    "an unused function beside it": (
        "workflow/distillery/training/objectives.py",
        "IGNORE = -100",
        "IGNORE = -100\n\n\ndef unused(logits):\n    return logits * IGNORE",
        set(),
    ),
}


@pytest.mark.e2e
@pytest.mark.parametrize(("file", "old", "new", "stale"), CHANGES.values(), ids=CHANGES)
def test_a_change_plans_exactly_what_depends_on_it(finished, file, old, new, stale):
    path = finished.root / file
    path.write_text(re.sub(re.escape(old), lambda _: new, path.read_text(), count=1))
    assert set(finished.planned()) == stale


@pytest.mark.e2e
def test_a_batch_without_one_right_rationale_is_refused_and_what_was_sampled_is_kept(finished):
    finished.edit("config/setups.yaml", "keep: all", "keep: correct")
    done = finished.snakemake("--cores", "2", check=False)
    assert done.returncode != 0
    assert "can be used as a rationale" in done.stdout
    assert (finished.root / "results/completions/tiny/train/tiny-few-shot/completions.jsonl").exists()
