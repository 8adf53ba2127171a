"""Shipped rates: what is kept of a finished run, and how well they forecast the default from nothing."""

from collections import Counter
from pathlib import Path

import pytest

from distillery.errors import UserError
from distillery.files import write_json
from distillery.jobs.cache import ArtifactCache
from distillery.planning.dry_run import DryRun
from distillery.planning.estimates import estimate
from distillery.planning.expected import Expectations
from distillery.planning.forecast import forecast_jobs
from distillery.planning.rates import Rates
from distillery.planning.shipped import reduced, shipped_rates
from distillery.planning.snakemake_graph import read_graph
from distillery.sampling.store import CompletionStore

REPOSITORY = Path(__file__).parents[3]


def test_the_default_is_forecast_from_nothing_within_a_factor_of_two(tmp_path, monkeypatch):
    """The measured seconds are those of the shipped records, which are all jobs of one run of the default."""
    monkeypatch.chdir(tmp_path)
    for name in ("Snakefile", "workflow", "config", "profiles", "envs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    forecasts, contents = forecast_jobs(read_graph(), ArtifactCache(None))
    dry_run = DryRun(forecasts, contents, CompletionStore(str(tmp_path / "store")))
    expectations = Expectations(dry_run, Rates([], shipped=shipped_rates()))
    forecast, measured = Counter[str](), Counter[str]()
    for job in forecasts:
        cost = estimate(job, expectations)
        assert cost.seconds is not None and cost.shipped, job.node.rule
        forecast[job.node.job.stage] += cost.seconds
    for record in shipped_rates().jobs:
        measured[record["stage"]] += record["seconds"]
    assert measured.total() / 2 < forecast.total() < measured.total() * 2
    long = {stage for stage, seconds in measured.items() if seconds > 20}
    assert long >= {"train", "sample", "ask_teachers", "peer_review"}
    assert {stage: round(forecast[stage] / measured[stage], 2) for stage in long
            if not 0.5 < forecast[stage] / measured[stage] < 2} == {}  # fmt: skip


def finished(root: Path) -> Path:
    """Results with each thing that is measured: rationales and programs of a teacher, and programs of a student."""
    outcomes = {"right": 3, "wrong": 4, "rejected": 0, "raised": 0, "unparsable": 1}
    failing = {"right": 5, "wrong": 0, "rejected": 1, "raised": 2, "unparsable": 0}
    for name, found in {"cot": outcomes, "program": failing}.items():
        asked = sum(found.values())
        write_json(root / f"verdicts/t/train/{name}/summary.json", {"robust": {"asked": asked, "outcomes": found}})
    verdicts, predictions = root / "committees/t/verdicts.jsonl", root / "refined/t/predictions.jsonl"
    for path in (verdicts, predictions):
        path.parent.mkdir(parents=True)
    verdicts.write_text(
        '{"grader": "robust", "outcome": "right"}\n' * 1
        + '{"grader": "robust", "outcome": "wrong"}\n' * 3
        + '{"grader": "paper", "outcome": "right"}\n' * 9
    )
    predictions.write_text('{"text": "def solution():\\n    return 1\\n"}\n')
    write_json(root / "a/provenance.json", {
        "stage": "train", "seconds": 7, "host": "mine", "key": "0", "params": {
            "recipe": "mine", "objective": {"loss": "mentor-kd", "alpha": 1}, "train": {"batch_size": 2, "epochs": 3},
        }, "work": {"tokens": 10, "steps": 2, "seconds": 6.0, "parameters": 5, "sandbox": "bwrap"},
    })  # fmt: skip
    write_json(root / "b/provenance.json", {
        "stage": "sample", "seconds": 2, "params": {"sampler": "mine", "spec": {"decoding": {"max_new_tokens": 9}}},
        "work": {"requested": 4, "generated": 3, "seconds": 1.0, "parameters": 5},
    })  # fmt: skip
    return root


def test_a_finished_run_is_reduced_to_shares_and_alikeness(tmp_path):
    found = reduced(finished(tmp_path), "2-core CPU", "2026-01-01")
    assert {name: found[name] for name in ("right", "right_on_mistakes", "failing", "lines")} == {
        "right": 8 / 16, "right_on_mistakes": 1 / 4, "failing": 3 / 8, "lines": 2,
    }  # fmt: skip
    training, sampling = found["jobs"]
    assert sampling["params"] == {"spec": {"decoding": {"max_new_tokens": 9}}}, "no name of a sampler"
    assert training == {
        "stage": "train", "seconds": 7,
        "params": {"objective": {"loss": "mentor-kd"}, "train": {"batch_size": 2}},
        "work": {"tokens": 10, "steps": 2, "seconds": 6.0, "parameters": 5},
    }  # fmt: skip


def test_a_run_without_programs_cannot_be_shipped(tmp_path):
    (finished(tmp_path) / "refined/t/predictions.jsonl").unlink()
    with pytest.raises(UserError, match="not every method was run here"):
        reduced(tmp_path, "2-core CPU", "2026-01-01")
