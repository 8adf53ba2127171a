"""What is planned: the graph of each shipped table, and what a change makes stale in a finished run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GRAPHS = Path(__file__).parent / "graph"


EDGES = """
import json
from distillery.jobs.job import as_list
from distillery.planning.snakemake_graph import read_graph

nodes = read_graph([TARGET])
makers = {str(path): node.rule for node in nodes for path in node.job.outputs.values()}
edges = {}
for node in nodes:
    inputs = edges.setdefault(node.rule, {"jobs": 0, "inputs": {}})
    inputs["jobs"] += 1
    for name, paths in node.job.inputs.items():
        producers = {(makers.get(str(path), "a local file"), path.name) for path in as_list(paths)}
        inputs["inputs"].setdefault(name, set()).update(producers)
print(json.dumps(edges, default=sorted))
"""


def edges(project, target: str) -> str:
    """Rule and number of its jobs; below it each input, with the rules and files that it comes from."""
    code = EDGES.replace("TARGET", repr(target))
    environment = {**os.environ, "PYTHONPATH": str(project.root / "workflow")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=project.root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = []
    for rule, found in sorted(json.loads(done.stdout).items()):
        lines.append(f"{rule} {found['jobs']}")
        for name, producers in sorted(found["inputs"].items()):
            if producers:
                lines.append(f"  {name}: {', '.join(f'{maker} ({file})' for maker, file in producers)}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "experiment",
    ["miniature", "miniature_ablations", "pad_sweeps", "mapd_svamp_replay", "mapd_svamp_replay_arms"],
)
def test_the_graph_of_each_table_is_the_one_in_the_repository(project, experiment):
    """After a wanted change: UPDATE_GRAPHS=1 pytest tests/workflow/test_graph.py.

    Local files that a user brings are there, empty: nothing reads them here.
    """
    stem = "Llama-2-7b-chat-hf_svamp"
    local = [f"mapd/{stem}_{kind}_round0.json" for kind in ("false", "feedback", "rationale")]
    for name in [*local, "svamp/svamp.json"]:
        path = project.root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    text = edges(project, f"results/tables/{experiment}/table.md")
    path = GRAPHS / f"{experiment}.txt"
    if os.environ.get("UPDATE_GRAPHS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text.splitlines() == path.read_text().splitlines()


def test_a_table_is_a_target_by_its_name_with_its_audits(project):
    planned = project.planned("table_tiny_mapd")
    assert planned.pop("table_tiny_mapd") == 1
    files = ["results/tables/tiny_mapd/table.html", "results/audits/tiny/tiny/mapd/tiny-random-half/seed1/audit.html"]
    assert planned == project.planned(*files) and planned["audit"] == 1


@pytest.mark.parametrize("target", ["table_tiny_mapt", "results/tables/tiny_mapt/table.md"])
def test_an_unknown_table_is_refused_with_the_known_ones_closest_first(project, target):
    done = project.snakemake("-n", "--cores", "1", target, check=False)
    assert done.returncode != 0
    assert re.search(r"'tiny_mapt': no such table\. Known, closest first: tiny_mapd, .*miniature", done.stdout)


def test_every_wildcard_of_every_output_is_bound_to_declared_names(project):
    """Snakemake 9.27 forgets the global constraints of wildcards in pathvars, unless they come after the rules."""
    free = """
import re
from snakemake.api import SnakemakeApi
from snakemake.settings.types import OutputSettings, ResourceSettings
from pathlib import Path

with SnakemakeApi(OutputSettings()) as api:
    workflow = api.workflow(resource_settings=ResourceSettings(cores=1), snakefile=Path("Snakefile"))._workflow
    outputs = [(rule.name, str(path)) for rule in workflow.rules for path in rule.output]
    print("OUTPUTS", len(outputs))
    for rule, path in outputs:
        for name in set(re.findall(r"\\{(\\w+)", path)) - set(re.findall(r"\\{(\\w+),", path)):
            print("FREE", rule, name, path)
"""
    environment = {**os.environ, "PYTHONPATH": str(project.root / "workflow")}
    done = subprocess.run(
        [sys.executable, "-c", free], cwd=project.root, env=environment, capture_output=True, text=True, check=True
    )
    assert int(re.search(r"OUTPUTS (\d+)", done.stdout)[1]) > 80
    assert "FREE" not in done.stdout, done.stdout


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
    *("train_mentor", "train_student", "sample_mentor", "verify_mentor", "soft_labels", "compose"),
    *("sample_predictions", "score", "tables", "all"),
}
CHANGES = {
    "a task's title": ("config/tasks/tiny.yaml", "title: Tiny", "title: Tinier", {"tables", "all"}),
    "a learning rate": ("config/setups.yaml", "learning_rate: 0.001", "learning_rate: 0.002", TRAINING),
    "the training code": (
        "workflow/distillery/training/losses.py",
        "IGNORE = -100",
        "IGNORE = -101",
        TRAINING,
    ),
    "an unused function beside it": (
        "workflow/distillery/training/losses.py",
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
