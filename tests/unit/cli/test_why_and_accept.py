"""`distillery why` and `accept`: where a result comes from, what changed, and keeping it all the same."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from distillery.cli.lineage import _explain
from distillery.cli.targets import outputs_of
from distillery.errors import UserError
from distillery.files import write_json
from distillery.jobs.job import Job
from distillery.planning.snakemake_graph import Node, read_graph
from distillery.registry import load_workspace

REPOSITORY = Path(__file__).parents[3]
CELL = "arithmetic/test/miniature/pad/smollm2-135m-26-layers/seed1"
PREDICTIONS = f"results/predictions/{CELL}/predictions.jsonl"
SCORES = f"results/scores/{CELL}/scores.json"


def test_why_shows_every_job_behind_a_cell_with_facts_in_words(small, command):
    output = command("why", "miniature/pad").output
    assert output.startswith("up to date\n")
    for rule in ("score", "predict", "train_student", "compose", "questions", "base_model"):
        assert rule in output
    assert "programs 1,234,567, sandbox bwrap+landlock" in output
    assert "tables" not in output, "nothing comes from the table"


def test_why_of_an_experiment_is_about_its_table(small, command):
    assert "results/tables/miniature/table.md" in command("why", "miniature").output


@pytest.mark.parametrize("edit", [{"stage": "consult"}, {"work": {"drawn": 3, "asked": None}}, {"work": None}])
def test_records_with_names_of_former_stages_are_shown(small, command, edit):
    path = small / SCORES
    record = path.with_name("provenance.json")
    write_json(record, {**json.loads(record.read_text()), **edit})
    assert "up to date" in command("why", "miniature/pad").output
    assert command("plan").output and command("times").output


def test_why_names_the_first_setting_that_changed_and_what_follows(small, change, command):
    change(temperature=0.25)
    output = command("why", "miniature/pad").output
    assert f"from {PREDICTIONS} on: params.spec.decoding.temperature: 0.5 → 0.25" in output
    assert f"this output itself: computed again if {PREDICTIONS} changes" in output


def test_why_says_that_an_output_was_never_made(small, command):
    (small / PREDICTIONS).unlink()
    (small / PREDICTIONS).with_name("provenance.json").unlink()
    output = command("why", PREDICTIONS).output
    assert "it was never made here" in output and "restored" in output


def test_a_broken_record_is_named(small, command):
    record = (small / SCORES).with_name("provenance.json")
    record.write_text("{")
    output = command("why", "miniature/pad", fails=True).output
    assert "not a provenance record" in output and str(record.relative_to(small)) in output


def test_a_question_is_followed_to_its_prompt_and_texts_and_no_other(small, command):
    output = command("why", "miniature/pad", "--question", "test-1").output
    assert output.count("prompt: Q: what is 1?\nA:") == 2, "two samples"
    written = [json.loads(line) for line in (small / PREDICTIONS).read_text().splitlines()]
    for row in written:
        assert (f"text: {row['text']}" in output) == (row["qid"] == "test-1")


def test_an_accepted_result_is_restored_and_stays_on_record(small, change, command):
    change(divisor=2)
    before = (small / SCORES).read_bytes()
    assert "score" in command("plan", SCORES).output
    output = command("accept", SCORES, "--reason", "harmless").output
    assert "params.divisor: 1 → 2" in output
    restored = command("plan", SCORES).output
    assert [line.split()[1:4] for line in restored.splitlines() if line.startswith("score")] == [["1", "-", "-"]]
    (entry,) = [
        entry
        for path in (small / "work/cache/v1/entries").rglob("*.json")
        if "accepted" in (entry := json.loads(path.read_text()))["record"]
    ]
    (decision,) = entry["record"]["accepted"]
    assert decision["reason"] == "harmless" and decision["by"] and decision["at"]
    assert decision["differences"] == [{"component": "params.divisor", "old": 1, "new": 2}]
    assert (small / SCORES).read_bytes() == before


def test_upstream_accepts_every_stale_job_behind_the_target_inputs_first(small, change, command):
    change(temperature=0.25, divisor=2)
    refused = command("accept", "miniature/pad", "--reason", "x", fails=True).output
    assert "its inputs are computed again" in refused and "--upstream" in refused
    output = command("accept", "miniature/pad", "--reason", "x", "--upstream").output
    accepted = [line.split()[1] for line in output.splitlines() if line.startswith("accepted")]
    assert accepted == [PREDICTIONS, f"results/scores/{CELL}/graded.jsonl"]


def test_upstream_passes_over_a_job_that_the_cache_answers_once_its_inputs_are_accepted(small, change, command):
    change(temperature=0.25)
    output = command("accept", "miniature/pad", "--reason", "x", "--upstream").output
    assert [line.split()[1] for line in output.splitlines() if line.startswith("accepted")] == [PREDICTIONS]


def test_a_stale_job_that_an_output_does_not_come_from_is_not_its_cause(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, other = (Node(name, Job(name, {}, {"out": Path(name)}, {}), True, "") for name in ("first", "other"))
    out = Console(file=io.StringIO(), width=80)
    _explain(out, [first, other], other)
    assert out.file.getvalue().startswith("stale, from other on: it was never made here")


def test_what_is_not_stale_or_not_the_jobs_output_is_not_accepted(small, change, command, monkeypatch):
    assert "not stale: nothing is planned" in command("accept", SCORES, "--reason", "x", fails=True).output
    change(divisor=2)
    (small / SCORES).write_text("{}")
    assert "not the file that its job made" in command("accept", SCORES, "--reason", "x", fails=True).output
    monkeypatch.setenv("DISTILLERY_CACHE", "off")
    assert "the cache is switched off" in command("accept", SCORES, "--reason", "x", fails=True).output


def workflow_here(root: Path) -> None:
    """The real workflow in a folder without results."""
    for name in ("Snakefile", "workflow", "config", "profiles", "envs"):
        (root / name).symlink_to(REPOSITORY / name)


def test_why_explains_every_cell_committee_and_audit_of_every_shipped_table(tmp_path, monkeypatch):
    """Each record holds what records of any stage may hold: numbers, words, lists, and the name of a former stage."""
    monkeypatch.chdir(tmp_path)
    workflow_here(tmp_path)
    workspace = load_workspace({"experiments": ["miniature"]})
    out = Console(file=open("out.txt", "w"), width=80)  # noqa: SIM115
    missing = []
    for experiment in workspace.experiments:
        cells = [
            f"{experiment}/{cell.task}/{cell.recipe}/{cell.model}/seed{cell.seed}"
            for cell in workspace.cells(experiment)
        ]
        outputs = outputs_of([experiment, *cells], None)
        try:
            nodes = read_graph(outputs)
        except UserError as error:
            missing.append(str(error))
            continue
        for number, node in enumerate(nodes):
            work = {
                "parameters": 9,
                "generated": 1234,
                "seconds": 1.5,
                "sandbox": "bwrap",
                "kinds": ["a"],
                "none": None,
            }
            write_json(node.record, {
                "stage": node.job.stage if number % 2 else "consult", "key": "0" * 32, "host": "[host]", "seconds": 2.5,
                "finished": "2026-01-01", "work": work, "params": dict(node.job.params), "inputs": {},
                "input_digests": {}, "output_digests": {},
            })  # fmt: skip
        makers = {path: node for node in nodes for path in node.job.outputs.values()}
        extra = [path for path in makers if path.parts[1] in {"committees", "audits"}]
        for output in {*map(Path, outputs), *extra}:
            _explain(out, nodes, makers[output])
    out.file.close()
    assert all("Missing input files" in message for message in missing), "not every checkout has released data"
    assert len(missing) <= 2, "the default, its ablations, its output space and the sweeps need none"
    assert "generated 1,234, kinds ['a'], none None, sandbox bwrap, seconds 1.5" in Path("out.txt").read_text()
