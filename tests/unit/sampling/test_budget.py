"""A budget is shared by the jobs of a run, stops at its limit, and costs nothing where none is set."""

import pytest

from distillery.sampling.budget import Budget


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "ledger" / "run.jsonl"


def test_without_limits_nothing_is_refused_and_nothing_written(ledger):
    budget = Budget({}, ledger)
    budget.note(samples=5, tokens=100, money=1.0)
    budget.close()
    assert budget.samples_left(7) == 7 and budget.exhausted is None and not ledger.exists()


def test_samples_are_drawn_up_to_the_limit(ledger):
    budget = Budget({"samples": 3}, ledger)
    assert budget.samples_left(10) == 3
    budget.note(samples=3, tokens=0, money=0)
    assert budget.samples_left(10) == 0 and budget.exhausted == "samples"


@pytest.mark.parametrize(("kind", "limit"), [("tokens", 100), ("money", 2.0)])
def test_tokens_and_money_are_counted(ledger, kind, limit):
    budget = Budget({kind: limit}, ledger)
    budget.note(samples=1, tokens=60, money=1.5)
    assert budget.exhausted is None
    budget.note(samples=1, tokens=60, money=1.5)
    assert budget.exhausted == kind and budget.samples_left(1) == 0


def test_jobs_of_one_run_spend_one_budget(ledger):
    one, other = Budget({"samples": 5}, ledger), Budget({"samples": 5}, ledger)
    one.note(samples=3, tokens=0, money=0)
    one.close()
    other.note(samples=1, tokens=0, money=0)
    other.close()
    assert other.samples_left(9) == 1
    assert Budget({"samples": 5}, ledger).spent["samples"] == 4


def test_the_refusal_says_what_is_there_and_what_to_do(ledger):
    budget = Budget({"samples": 2}, ledger)
    budget.note(samples=2, tokens=9, money=0)
    told = str(budget.refusal("sample t", 2, 5))
    assert "2 of 2 samples" in told and "3 are missing" in told and "budget.samples" in told
