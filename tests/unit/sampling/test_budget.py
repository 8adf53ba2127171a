"""A budget is shared by the jobs of a run, stops at its limit, and costs nothing where none is set."""

import json
from pathlib import Path

import pytest

from distillery.errors import UserError
from distillery.sampling import budget as budgets
from distillery.sampling.backends.base import backend_name
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


def test_the_refusal_has_its_place_value_and_both_counts(ledger):
    budget = Budget({"tokens": 10, "money": 4.0}, ledger)
    budget.note(samples=1, tokens=5, money=3.0)
    refused = budget.refusal("sample t", 1, 5)
    assert refused.problem == (
        "the budget of this run does not afford another request: 3 of 4 money. sample t: "
        "1 samples were generated now and are in the store, 4 are missing"
    )
    assert (refused.key, refused.value) == ("budget.money", 4.0)
    budget.note(samples=1, tokens=5, money=0.0)
    assert budget.refusal("sample t", 1, 5).problem.startswith("the budget of this run is spent: 10 of 10 tokens.")
    assert Budget({"samples": 0}, ledger).refusal("x", 0, 1).key == "budget.samples"


def test_what_another_request_may_cost_is_compared_with_every_limit(ledger):
    budget = Budget({"samples": 3, "money": 2.0}, ledger)
    budget.note(samples=1, tokens=100, money=1.5)
    assert budget.affords(samples=2, tokens=1e9, money=0.5)
    assert not budget.affords(samples=3, tokens=0, money=0.0) and not budget.affords(samples=0, tokens=0, money=0.6)


def test_the_ledger_has_one_line_for_what_came_in_a_second(ledger, monkeypatch):
    now = [50.0]
    monkeypatch.setattr(budgets.time, "monotonic", lambda: now[0])
    budget = Budget({"tokens": 100}, ledger)
    for now[0] in (50.5, 50.9, 51.0, 51.5, 52.0):
        budget.note(samples=1, tokens=10, money=0.25)
    budget.note(samples=1, tokens=10, money=0.25)
    budget.close()
    budget.close()
    lines = [json.loads(line) for line in ledger.read_text(encoding="utf-8").splitlines()]
    assert lines == [
        {"samples": 3.0, "tokens": 30.0, "money": 0.75},
        {"samples": 2.0, "tokens": 20.0, "money": 0.5},
        {"samples": 1.0, "tokens": 10.0, "money": 0.25},
    ]
    assert budget.spent == Budget({"tokens": 100}, ledger).spent == {"samples": 6.0, "tokens": 60.0, "money": 1.5}


def test_a_line_that_is_no_entry_is_passed_over_and_the_next_is_counted(ledger):
    ledger.parent.mkdir()
    ledger.write_text('{"samples": 1, "other": 9}\n[1]\n{"samples": "x"}\n{"sam\n{"samples": 2, "tokens": 3}\n')
    assert Budget({"samples": 9}, ledger).spent == {"samples": 3.0, "tokens": 3.0, "money": 0.0}


def test_the_budget_of_a_run_is_that_of_its_environment(monkeypatch):
    monkeypatch.setenv(budgets.LIMITS_VARIABLE, '{"samples": 5, "tokens": null, "other": 3}')
    monkeypatch.setenv(budgets.RUN_VARIABLE, "this")
    monkeypatch.delenv("DISTILLERY_WORK", raising=False)
    budget = Budget.from_environment()
    assert (budget.limits, budget.ledger) == ({"samples": 5}, Path("work/ledger/this.jsonl"))
    monkeypatch.setenv("DISTILLERY_WORK", "/elsewhere")
    monkeypatch.setenv(budgets.LIMITS_VARIABLE, "")
    monkeypatch.delenv(budgets.RUN_VARIABLE)
    budget = Budget.from_environment()
    assert budget.limits == {} and budget.ledger.parent == Path("/elsewhere/ledger")
    assert budget.ledger.name.startswith("by-hand-") and budget.ledger.suffix == ".jsonl"


@pytest.mark.parametrize(
    ("wish", "architecture", "installed", "name"),
    [
        (None, "causal", True, "vllm"),
        (None, "causal", False, "transformers"),
        ("auto", "encoder-decoder", True, "transformers"),
        ("vllm", "causal", True, "vllm"),
        ("transformers", "causal", True, "transformers"),
        ("other", "causal", True, "no such backend"),
        ("vllm", "encoder-decoder", True, "vLLM does not serve encoder-decoder models"),
        ("vllm", "causal", False, "vLLM is not installed"),
    ],
)
def test_the_backend_is_the_wished_one_where_it_can_serve(monkeypatch, wish, architecture, installed, name):
    wished = {} if wish is None else {"DISTILLERY_BACKEND": wish}
    monkeypatch.delenv("DISTILLERY_BACKEND", raising=False)
    for variable, value in wished.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr("importlib.util.find_spec", lambda module: (module == "vllm" and installed) or None)
    if name in ("vllm", "transformers"):
        assert backend_name(architecture) == name
        return
    with pytest.raises(UserError) as caught:
        backend_name(architecture)
    assert (caught.value.problem, caught.value.key, caught.value.value) == (name, "DISTILLERY_BACKEND", wish)
