"""Each field of `Decoding` reaches an endpoint: whole bodies of requests beside those that they should be."""

import pytest

from distillery.config.model import ApiModel
from distillery.config.sampler import Decoding
from distillery.models.sources import prepare_model
from distillery.records import Question
from distillery.sampling.sampler import CompletionSampler, sample
from distillery.sampling.store import CompletionStore

from .endpoint import Endpoint

QUESTION = Question(qid="q", task="t", question="one?", gold="1")
TWO_CALLS = {"prompt": "p", "input": "Q: {{ question }}\nA:", "answer_cue": "\nSo"}


@pytest.fixture
def endpoint(monkeypatch):
    made = Endpoint()
    monkeypatch.setenv("DISTILLERY_API_CONCURRENCY", "1")
    yield made
    made.server.shutdown()
    made.server.server_close()


def bodies(endpoint: Endpoint, tmp_path, changes: dict, **prompt) -> list[dict]:
    """Bodies of the requests of one question and two samples."""
    folder = tmp_path / f"model{len(endpoint.bodies)}"
    api = ApiModel(kind="api", id="teacher-1", endpoint=endpoint.url, key=None)
    made = prepare_model(api, folder, parent=None, downloads=tmp_path)
    sampler = CompletionSampler(folder, made.identity, "api", CompletionStore(str(folder / "store")))
    spec = {"prompt": {**TWO_CALLS, **prompt}, "decoding": {**BASE, **changes}, "samples": 2}
    before = len(endpoint.bodies)
    sample([QUESTION], [], spec, sampler, sampler="s")
    return endpoint.bodies[before:]


BASE = {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "max_new_tokens": 8, "answer_tokens": 4, "seed": 0}
BODIES = {
    # field -> another value, and what of the first call's body is then another beside the seed, which is of the key
    "temperature": (0.8, {"temperature": 0.8}),
    "top_p": (0.5, {"top_p": 0.5}),
    "top_k": (7, {"top_k": 7}),
    "max_new_tokens": (9, {"max_tokens": 9}),
    "answer_tokens": (3, {}),
    "seed": (1, {}),
}


def test_every_field_has_a_case():
    assert set(BODIES) == set(Decoding.model_fields) == set(BASE)


@pytest.mark.parametrize("field", BODIES)
def test_a_field_reaches_the_endpoint_and_no_other_does(endpoint, tmp_path, field):
    value, changed = BODIES[field]
    first = bodies(endpoint, tmp_path, {})
    second = bodies(endpoint, tmp_path, {field: value})
    plain = {
        "path": "/v1/completions", "model": "teacher-1", "prompt": "Q: one?\nA:", "temperature": 0.7, "top_p": 0.9,
        "top_k": 5, "max_tokens": 8,
    }  # fmt: skip
    for sent, expected in ((first, plain), (second, {**plain, **changed})):
        calls = [body for body in sent if body["prompt"] == "Q: one?\nA:"]
        assert [{k: v for k, v in body.items() if k != "seed"} for body in calls] == [expected, expected]
        assert len({body["seed"] for body in calls}) == 2, "two samples, two seeds"
    seeds = [[body.get("seed") for body in sent if body["prompt"] == "Q: one?\nA:"] for sent in (first, second)]
    assert (seeds[0] == seeds[1]) == (field == "answer_tokens"), "only the second call has its limit"
    answers = [body for body in second if body["prompt"] != "Q: one?\nA:"]
    for body in answers:
        limit = value if field == "answer_tokens" else 4
        assert (body["temperature"], body["max_tokens"]) == (0.0, limit)
        assert not body.keys() & {"top_p", "top_k", "seed"}
        assert body["prompt"].startswith("Q: one?\nA:I was asked") and body["prompt"].endswith("\nSo")


@pytest.mark.parametrize("chat", [False, True])
def test_stop_texts_and_the_whole_prompt_reach_the_endpoint(endpoint, tmp_path, chat):
    (body, *_) = bodies(endpoint, tmp_path, {}, stop=["\n", "Q:"], chat=chat)
    assert body["stop"] == ["\n", "Q:"]
    if chat:
        assert body["path"] == "/v1/chat/completions"
        assert body["messages"] == [{"role": "user", "content": "Q: one?\nA:"}]
    else:
        assert body["prompt"] == "Q: one?\nA:" and "messages" not in body
