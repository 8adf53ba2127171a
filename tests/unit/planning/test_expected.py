"""Expected counts: rows and tokens of trainings whose rows nobody has composed yet."""

import itertools
from pathlib import Path

import pytest

from distillery.jobs.job import Job
from distillery.planning.dry_run import DryRun, RequestCount
from distillery.planning.estimates import parameters_in_name
from distillery.planning.expected import Expectations, expected_up_to
from distillery.planning.forecast import Contents, Forecast, JobStatus
from distillery.planning.rates import Rates
from distillery.planning.shipped import Shipped
from distillery.planning.snakemake_graph import Node
from distillery.sampling.store import CompletionStore


def planned(stage, inputs, outputs, **params):
    return Forecast(Node(stage, Job(stage, inputs, outputs, params), True, ""), JobStatus.DEPENDS)


def source(**settings):
    return {"degree": None, "keep": "correct", "per_question": None, "share": 1.0, **settings}


SHIPPED = Shipped(right=0.5, right_on_mistakes=0.2, failing=0.1)
QUESTIONS, SAMPLES, ROWS = Path("train.jsonl"), Path("completions.jsonl"), Path("rows.jsonl")


def expectations(tmp_path, *more, **sources):
    """A task of ten train questions, four samples of a teacher on each, and rows of these."""
    exemplars = {"count": 1}
    jobs = [
        planned("questions", {}, {"train": QUESTIONS}, spec={"sizes": {"train": 10}, "exemplars": exemplars}),
        planned("sample", {}, {"completions": SAMPLES}, spec={"samples": 4}),
        planned("compose", {"questions": QUESTIONS, "completions": [SAMPLES for name in sources if name != "gold"]},
                {"rows": ROWS}, sources=sources, sampled={name: {} for name in sources if name != "gold"}),
        *more,
    ]  # fmt: skip
    return Expectations(DryRun(jobs, Contents(), CompletionStore(str(tmp_path / "store"))), Rates([], shipped=SHIPPED))


@pytest.mark.parametrize(
    ("sources", "rows"),
    [
        ({"gold": source(share=0.5)}, 5),
        ({"teacher": source()}, 10 * 4 * 0.5),
        ({"teacher": source(degree=1)}, 10 * 0.5),
        ({"teacher": source(keep="all")}, 10 * 4),
        ({"teacher": source(per_question=1)}, 10 * (1 - 0.5**4)),
        ({"gold": source(), "teacher": source(share=0.1)}, 10 + 2),
    ],
)
def test_rows_are_expected_of_right_completions_up_to_the_caps(tmp_path, monkeypatch, sources, rows):
    monkeypatch.chdir(tmp_path)
    assert expectations(tmp_path, **sources).units(ROWS) == pytest.approx(rows)


def test_an_expected_count_is_the_mean_over_all_outcomes():
    outcomes = list(itertools.product([0, 1], repeat=3))
    assert expected_up_to(2, 3, 0.5) == pytest.approx(sum(min(2, sum(each)) for each in outcomes) / len(outcomes))


@pytest.mark.parametrize(("stage", "expected"), [("refine", 4), ("sample", 40), ("peer_review", 8)])
def test_a_bound_is_replaced_only_where_a_share_is_known(tmp_path, monkeypatch, stage, expected):
    monkeypatch.chdir(tmp_path)
    job = planned(stage, {"questions": QUESTIONS, "verdicts": Path("verdicts.jsonl")}, {"out": Path("o")}, spec={})
    found = expectations(tmp_path)
    assert found.samples(job, RequestCount(40, at_most=True)) == expected
    assert found.samples(job, RequestCount(40)) == 40
    assert found.samples(job, RequestCount(None)) is None


@pytest.mark.parametrize(
    ("text", "parameters"),
    [("SmolLM2-135M-Instruct.Q4_1.gguf", 135e6), ("Qwen/Qwen3-0.6B", 6e8), ("t5-3b", 3e9), ("codet5-small", None),
     ("phi-v2.5mini", None)],
)  # fmt: skip
def test_the_size_of_a_model_that_is_not_made_yet_is_read_from_its_name(text, parameters):
    assert parameters_in_name({"id": text}, "") == parameters
