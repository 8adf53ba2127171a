"""Rates: seconds of a planned job, from those of the jobs on record that are most like it."""

import json
import platform
from pathlib import Path

import pytest

from distillery.jobs.job import Job
from distillery.planning.forecast import Forecast, JobStatus
from distillery.planning.rates import Rates
from distillery.planning.shipped import Shipped, records_in, shipped_rates
from distillery.planning.snakemake_graph import Node


def planned(stage, **params):
    return Forecast(Node(stage, Job(stage, {}, {"out": Path("out")}, params), True, ""), JobStatus.COMPUTED)


def record(stage, generated, seconds, parameters, **params):
    """A job that took a second beside its work."""
    work = {"generated": generated, "seconds": seconds, "parameters": parameters}
    return {"stage": stage, "host": platform.node(), "seconds": seconds + 1, "params": params, "work": work}


REVIEWS = [record("peer_review", 10, 20, 100, reviewers="mine"), record("peer_review", 10, 50, 500, reviewers="other")]


@pytest.mark.parametrize(
    ("reviewers", "parameters", "seconds"),
    [
        ("mine", 100, 1 + 5 * 2.0),  # the same reviewers
        ("mine", 300, 1 + 5 * 2.0 * 3),  # the same reviewers, a model of three times the size
        ("new", 500, 1 + 5 * 5.0),  # a model of the same size
        ("new", 1000, 1 + 5 * 15.0),  # 0.02 and 0.01 seconds for each parameter of the others
        ("new", None, None),
    ],
)
def test_calls_of_a_committee_take_as_long_as_those_most_alike(reviewers, parameters, seconds):
    found = Rates(REVIEWS).seconds(planned("peer_review", reviewers=reviewers), 5, parameters)
    assert found == (None if seconds is None else (pytest.approx(seconds), False))


def test_nothing_to_generate_takes_no_time_and_an_unmeasured_stage_an_unknown_one():
    assert Rates([]).seconds(planned("ask_teachers", teachers="mine"), 0, 100) == (0, False)
    assert Rates([]).seconds(planned("ask_teachers", teachers="mine"), 5, 100) is None


def test_an_endpoint_without_known_parameters_is_like_another_endpoint_and_nothing_else():
    rates = Rates([record("sample", 10, 30, 0, sampler="far")])
    assert rates.seconds(planned("sample", sampler="farther"), 2, 0) == (pytest.approx(1 + 6), False)
    assert rates.seconds(planned("sample", sampler="near"), 2, 100) is None


def training(seconds, parameters, loss, recipe, **train):
    settings = {"batch_size": 4, "precision": "bf16", "lora": None, **train}
    params = {"objective": {"loss": loss}, "form": "text", "train": settings, "recipe": recipe}
    return {"stage": "train", "host": platform.node(), "seconds": seconds + 1, "params": params,
            "work": {"tokens": 100, "steps": 5, "seconds": seconds, "parameters": parameters}}  # fmt: skip


def test_trainings_are_alike_by_loss_and_settings_and_never_by_the_name_of_a_recipe():
    rates = Rates([training(10, 8, "cross-entropy", "mine"), training(40, 8, "mentor-kd", "other")])
    like = {name: value for name, value in training(0, 8, "mentor-kd", "")["params"].items() if name != "recipe"}
    assert rates.seconds(planned("train", **like, recipe="mine"), 100, 8) == (pytest.approx(41), False)
    assert rates.seconds(planned("train", **like), 100, 16) == (pytest.approx(81), False)
    assert rates.tokens_per_unit(planned("train", **like)) == 100 / 5 / 4


def test_longer_texts_of_another_sampler_take_longer():
    spec = {"decoding": {"max_new_tokens": 32}}
    rates = Rates([record("sample", 10, 30, 100, sampler="short", spec=spec)])
    longer = planned("sample", sampler="long", spec={"decoding": {"max_new_tokens": 160}})
    assert rates.seconds(longer, 10, 100) == (pytest.approx(1 + 30 * (160 + 32) / (32 + 32)), False)


def test_shipped_rates_answer_where_this_machine_has_not_measured_and_are_marked():
    shipped = Shipped("slow box", "2026-01-01", jobs=[record("sample", 10, 30, 100), record("verify", 0, 5, 0)])
    own = record("verify", 0, 1, 0)
    rates = Rates([own, {**record("sample", 10, 1, 100), "host": "elsewhere"}], shipped=shipped)
    assert rates.seconds(planned("verify"), 0, None) == (2, False)
    assert rates.seconds(planned("sample"), 10, 100) == (pytest.approx(31), True)
    assert str(shipped) == "shipped rates for a slow box, measured 2026-01-01"


def test_a_refinement_takes_as_long_as_sampling_where_none_was_measured():
    rates = Rates([record("sample", 10, 30, 100)])
    assert rates.seconds(planned("refine", spec={"rounds": 2}), 10, 100) == (pytest.approx(31), False)


def refinement(path, requested):
    spec = {"rounds": 2}
    return {**record("refine", 0, 0, 100, spec=spec), "inputs": {"questions": [str(path)]},
            "work": {"requested": requested, "generated": 0, "seconds": 0.0}}  # fmt: skip


def test_the_share_of_repairs_is_that_of_recorded_refinements_else_of_failing_programs(tmp_path):
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"qid": "a"}\n' * 5)
    shipped = Shipped(failing=0.25)
    forecast = planned("refine", spec={"rounds": 2})
    assert Rates([refinement(questions, 4)], shipped=shipped).requested(forecast) == 4 / (5 * 2)
    assert Rates([refinement(tmp_path / "gone", 4)], shipped=shipped).requested(forecast) == 0.25


def test_a_search_is_expected_to_end_with_a_program_of_usual_length():
    spec = {"steps": {"samples": 2, "beams": 3, "max_lines": 20}}
    usual = 2 * (1 + 3 * 4) / (2 * (1 + 3 * 19))  # five lines
    assert Rates([], shipped=Shipped(lines=5)).requested(planned("search", spec=spec)) == pytest.approx(usual)


def test_records_of_stages_that_no_longer_exist_and_broken_ones_change_nothing(tmp_path):
    for number, text in enumerate(['{"stage": "consult", "seconds": 3, "work": {"drawn": 2}}', "[1]", "{", "{}"]):
        (tmp_path / f"{number}.provenance.json").write_text(text)
    (found,) = records_in(tmp_path)
    rates = Rates([{**found, "host": platform.node()}, *REVIEWS])
    assert rates.seconds(planned("peer_review", reviewers="mine"), 5, 100) == (pytest.approx(11), False)


@pytest.mark.parametrize("lacking", [{"work": None}, {"params": None}, {"work": {"generated": 3, "seconds": None}}])
@pytest.mark.parametrize("stage", ["sample", "peer_review", "train", "refine", "search", "base_model", "verify"])
def test_a_record_that_lacks_a_part_says_nothing(stage, lacking):
    bare = {"stage": stage, "host": platform.node(), "seconds": 2, "params": {}, "work": {}, **lacking}
    steps = {"samples": 1, "beams": 1, "max_lines": 9}
    forecast = planned(stage, sampler="mine", reviewers="mine", spec={"kind": "hub", "rounds": 2, "steps": steps})
    rates = Rates([bare])
    measured = stage in {"base_model", "verify"}
    assert rates.seconds(forecast, 0 if measured else 3, 100) == ((2, False) if measured else None)
    assert rates.tokens_per_unit(forecast) is None and rates.requested(forecast) == 1


def test_the_shipped_rates_hold_no_name_of_a_machine_a_recipe_or_a_sampler():
    shipped = shipped_rates()
    text = json.dumps([dict(job) for job in shipped.jobs])
    assert {"train", "sample", "ask_teachers", "peer_review"} <= {job["stage"] for job in shipped.jobs}
    assert not any(word in text for word in ("host", "recipe", "sampler", "/", "key"))
    assert shipped.device and shipped.measured and 0 < shipped.failing < shipped.right < 1
