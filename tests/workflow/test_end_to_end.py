"""One real run of the whole graph on random weights: every stage, every rule, the real engine."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e


def test_the_finished_run_has_a_table_with_every_arm(finished_template):
    table = (finished_template.root / "results/tables/tiny/table.md").read_text()
    for arm in ("Zero-shot-CoT", "Fine-tune-CoT", "Mentor-KD"):
        assert arm in table


def test_a_second_run_has_nothing_to_do(finished):
    assert finished.planned() == {}


def test_counts_of_every_score_add_up(finished_template):
    found = sorted((finished_template.root / "results/scores").rglob("scores.json"))
    assert len(found) == 3
    for path in found:
        for grader in json.loads(path.read_text())["graders"].values():
            outcomes = ("right", "wrong", "unparsable", "truncated", "refused", "failed")
            assert grader["asked"] == 5 == sum(grader[outcome] for outcome in outcomes)


def test_every_job_left_a_provenance_record_whose_digests_hold(finished_template):
    from distillery.files import sha256_file

    records = sorted((finished_template.root / "results").rglob("provenance.json"))
    assert len(records) >= 15
    for path in records:
        record = json.loads(path.read_text())
        assert record["key"] and record["params"]["code"]
        for name, digest in record["output_digests"].items():
            assert sha256_file(finished_template.root / record["outputs"][name]) == digest


def test_a_run_elsewhere_with_the_same_store_loads_no_model_and_gives_the_same_completions(finished_template, project):
    target = "results/completions/tiny/train/tiny-few-shot/completions.jsonl"
    store = str(finished_template.root / "work" / "completions")
    told = project.snakemake("--cores", "2", target, DISTILLERY_STORE=store).stdout
    assert "0 to generate" in told and "loading" not in told
    assert (project.root / target).read_bytes() == (finished_template.root / target).read_bytes()


def test_more_samples_draw_only_the_new_ones_and_keep_the_first(finished):
    target = "results/completions/tiny/train/tiny-few-shot/completions.jsonl"
    before = (finished.root / target).read_text().splitlines()
    finished.edit("config/samplers/tiny-few-shot.yaml", "samples: 2", "samples: 4")
    told = finished.snakemake("--cores", "2", target).stdout
    after = (finished.root / target).read_text().splitlines()
    assert "24 requested, 12 in the store, 12 to generate" in told
    assert [line for line in after if json.loads(line)["sample_index"] < 2] == before


def test_the_report_is_one_file_that_holds_the_table(finished):
    finished.snakemake("--report", "report.html")
    text = (finished.root / "report.html").read_text()
    assert "table.html" in text and "figure.svg" in text


HOLDER = """
import os, sys
from pathlib import Path
from distillery.jobs.locks import hold_for_life
hold_for_life(Path(".snakemake", "distillery.lock"))
print(os.getpid(), flush=True)
sys.stdin.read()
"""


def test_a_second_run_in_the_same_folder_is_refused_while_the_first_one_lives(project):
    (project.root / ".snakemake").mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(project.root / "workflow")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    target = "results/questions/tiny/train.jsonl"
    with holder:
        number = holder.stdout.readline().strip()
        refused = project.snakemake("--cores", "1", target, check=False)
        holder.stdin.close()
    assert refused.returncode != 0 and "Another run is at work in this folder" in refused.stdout
    assert number in refused.stdout and not (project.root / target).exists()
    project.snakemake("--cores", "1", target)
    assert (project.root / target).exists()
