"""Estimates: seconds of a planned job, from those of the jobs on record that are most like it."""

import platform
from pathlib import Path

import pytest

from distillery.jobs.job import Job
from distillery.planning.estimates import Rates
from distillery.planning.forecast import Forecast, JobStatus
from distillery.planning.snakemake_graph import Node


def planned(stage, **params):
    return Forecast(Node(stage, Job(stage, {}, {"out": Path("out")}, params), True, ""), JobStatus.COMPUTED)


def record(stage, drawn, seconds, parameters, **params):
    """A job that took a second beside its work."""
    work = {"generated": drawn, "seconds": seconds, "parameters": parameters}
    return {"stage": stage, "host": platform.node(), "seconds": seconds + 1, "params": params, "work": work}


REVIEWS = [record("peer_review", 10, 20, 100, reviewers="mine"), record("peer_review", 10, 50, 500, reviewers="other")]


@pytest.mark.parametrize(
    ("reviewers", "parameters", "seconds"),
    [
        ("mine", 100, 1 + 5 * 2.0),  # the same reviewers
        ("new", 500, 1 + 5 * 5.0),  # a model of the same size
        ("new", 1000, 1 + 5 * 15.0),  # 0.02 and 0.01 seconds for each parameter of the others
        ("new", None, None),
    ],
)
def test_calls_of_a_committee_take_as_long_as_those_most_alike(reviewers, parameters, seconds):
    found = Rates(REVIEWS).seconds(planned("peer_review", reviewers=reviewers), 5, parameters)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_nothing_to_draw_takes_no_time_and_an_unmeasured_stage_an_unknown_one():
    assert Rates([]).seconds(planned("ask_teachers", teachers="mine"), 0, 100) == 0
    assert Rates([]).seconds(planned("ask_teachers", teachers="mine"), 5, 100) is None


def test_an_endpoint_without_known_parameters_is_like_another_endpoint_and_nothing_else():
    rates = Rates([record("sample", 10, 30, 0, sampler="far")])
    assert rates.seconds(planned("sample", sampler="farther"), 2, 0) == pytest.approx(1 + 6)
    assert rates.seconds(planned("sample", sampler="near"), 2, 100) is None
