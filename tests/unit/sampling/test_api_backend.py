"""A teacher behind an endpoint: real requests over HTTP to a server that answers as told, faults included."""

import json

import pytest

from distillery.config.model import ApiModel
from distillery.errors import UserError
from distillery.models.manifest import read_manifest
from distillery.models.sources import prepare_model
from distillery.records import Question
from distillery.sampling.budget import price_of
from distillery.sampling.logprobs import decode_choice
from distillery.sampling.requests import Request
from distillery.sampling.sampler import CompletionSampler, sample
from distillery.sampling.store import CompletionStore

from .endpoint import Endpoint

PROMPT = {"prompt": "p", "input": "Q: {{ question }}\nA:", "chat": True}
QUESTIONS = [Question(qid=f"q{n}", task="t", question=f"{n} + {n}?", gold=str(2 * n)) for n in range(6)]


@pytest.fixture
def endpoint(monkeypatch):
    made = Endpoint()
    monkeypatch.setenv("MY_KEY", "a-secret-key")
    monkeypatch.setenv("DISTILLERY_API_RETRIES", "3")
    yield made
    made.server.shutdown()


@pytest.fixture
def model_sampler(endpoint, tmp_path):
    model = ApiModel(kind="api", id="teacher-1", endpoint=endpoint.url, key="MY_KEY")
    made = prepare_model(model, tmp_path / "model", parent=None, downloads=tmp_path)
    assert read_manifest(tmp_path / "model").identity == f"api:teacher-1@{endpoint.url}"
    return CompletionSampler(
        tmp_path / "model", made.identity, made.architecture, CompletionStore(str(tmp_path / "store"))
    )


def draw(model_sampler: CompletionSampler, samples: int = 1, **prompt):
    spec = {
        "prompt": {**PROMPT, **prompt},
        "samples": samples,
        "decoding": {"temperature": 0.7, "top_p": 0.9, "top_k": 0, "max_new_tokens": 8, "seed": 0},
    }
    return sample(QUESTIONS, [], spec, model_sampler, sampler="api")[0]


def test_every_question_is_asked_once_and_the_answers_are_kept(model_sampler, endpoint):
    first = draw(model_sampler)
    assert len(endpoint.bodies) == 6
    assert all(f"+ {one.qid[1]}?" in one.text for one in first)
    assert draw(model_sampler) == first and len(endpoint.bodies) == 6, "the second time all is in the store"
    assert [one.finish_reason for one in first] == ["stop"] * 5 + ["length"]
    assert {(one["temperature"], one["top_p"], one["max_tokens"]) for one in endpoint.bodies} == {(0.7, 0.9, 8)}
    assert len({one["seed"] for one in endpoint.bodies}) == 6
    assert {(one.prompt_tokens, one.completion_tokens) for one in first} == {(10, 5)}


def test_a_plain_prompt_goes_to_the_completions_endpoint(model_sampler, endpoint):
    draw(model_sampler, chat=False)
    assert {one["path"] for one in endpoint.bodies} == {"/v1/completions"}


def test_rate_limits_and_server_errors_are_retried(model_sampler, endpoint):
    endpoint.faults = [429, 500, 503]
    assert len(draw(model_sampler)) == 6


def test_a_request_that_fails_for_good_keeps_the_others_and_is_not_stored(model_sampler, endpoint):
    endpoint.poisoned = "3 + 3"
    with pytest.raises(UserError, match="1 of 6 requests failed for good"):
        draw(model_sampler)
    asked = len(endpoint.bodies)
    endpoint.poisoned = ""
    assert len(draw(model_sampler)) == 6 and len(endpoint.bodies) == asked + 1


def test_the_key_goes_to_the_endpoint_and_nowhere_else(model_sampler, endpoint, tmp_path, caplog):
    caplog.set_level("DEBUG")
    draw(model_sampler)
    assert endpoint.keys == {"Bearer a-secret-key"}
    assert "a-secret-key" not in caplog.text
    assert all(b"a-secret-key" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_missing_or_refused_key_is_named(model_sampler, endpoint, monkeypatch):
    endpoint.faults = [401] * 99
    with pytest.raises(UserError, match="refuses the key"):
        draw(model_sampler)
    monkeypatch.delenv("MY_KEY")
    model_sampler._backend = None
    with pytest.raises(UserError, match="MY_KEY"):
        draw(model_sampler)


def test_money_is_counted_and_a_budget_of_it_stops(model_sampler, monkeypatch):
    monkeypatch.setenv("DISTILLERY_PRICES", json.dumps({model_sampler.identity: [1e6, 2e6]}))
    assert price_of(model_sampler.identity, 10, 5) == 20
    model_sampler.budget.limits = {"money": 60}
    with pytest.raises(UserError, match="60 of 60 money"):
        draw(model_sampler)
    request = Request("", 0)
    assert request.key and model_sampler.budget.spent["samples"] == 3


@pytest.mark.parametrize("special_tokens", [True, False])
def test_a_constraint_is_sent_and_an_endpoint_that_ignores_it_gives_a_text_and_no_choice(
    model_sampler, endpoint, special_tokens
):
    decoding = {"temperature": 0.0, "max_new_tokens": 1}
    (given,) = model_sampler.complete(
        [Request("Score: [", 0, special_tokens)], decoding, [], "scores", choice=("1", "2")
    )
    assert endpoint.bodies[0]["structured_outputs"] == {"choice": ["1", "2"]} and endpoint.bodies[0]["logprobs"]
    assert decode_choice(given.text, ("1", "2")) is None
