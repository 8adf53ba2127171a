"""Backends: what comes back belongs to its request, whatever else was asked; and sampling goes through the store."""

import gc
import importlib.util
import sys
from dataclasses import replace

import pytest

from distillery.config.model import RandomModel
from distillery.errors import UserError
from distillery.models.sources import prepare_model
from distillery.records import Question
from distillery.sampling.backends.base import PendingRequest, backend_name, open_backend
from distillery.sampling.backends.vllm import import_libraries
from distillery.sampling.logprobs import decode_scored
from distillery.sampling.requests import Request, Series, seed_of
from distillery.sampling.sampler import CompletionSampler, sample
from distillery.sampling.store import CompletionStore

SAMPLED = Series.of("m", {"temperature": 1.0, "top_p": 0.9, "top_k": 20, "max_new_tokens": 12, "seed": 0}, ["z"])
GREEDY = Series.of("m", {"temperature": 0, "max_new_tokens": 6}, [])
PROMPTS = [f"{'Long and longer. ' * (n % 3)}What is {n} + {n}?" for n in range(6)]

needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here")
backends = pytest.mark.parametrize(
    "name",
    [
        "transformers",
        pytest.param("vllm", marks=[pytest.mark.vllm, needs_vllm]),
    ],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny causal model with random weights in float32, so that batches cannot differ by rounding."""
    out = tmp_path_factory.mktemp("models") / "tiny"
    prepare_model(RandomModel(kind="random"), out, parent=None, downloads=out.parent)
    return out


@pytest.fixture(scope="module")
def loaded(folder):
    """Each backend once for all tests of this module: an engine takes seconds to start."""
    made = {}

    def load(name: str):
        if name not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("DISTILLERY_BACKEND", name)
                made[name] = open_backend(folder, "causal")
        return made[name]

    return load


def ask(backend, series: Series, prompts: list[str], samples: int = 1) -> dict[str, tuple[str, str]]:
    """Key -> (text, finish reason)."""
    requests = [Request(prompt, index) for prompt in prompts for index in range(samples)]
    asked = [PendingRequest(request.key(series), request, seed_of(request.key(series))) for request in requests]
    return {one.key: (one.text, one.finish_reason) for one in backend.generate(asked, series)}


@backends
def test_a_greedy_completion_does_not_depend_on_the_prompts_beside_it(loaded, name):
    together = ask(loaded(name), GREEDY, PROMPTS)
    alone = [ask(loaded(name), GREEDY, [prompt]) for prompt in PROMPTS]
    assert len(together) == len(PROMPTS)
    assert together == {key: value for one in alone for key, value in one.items()}


@backends
def test_the_same_requests_give_the_same_samples(loaded, name):
    assert ask(loaded(name), SAMPLED, PROMPTS, 2) == ask(loaded(name), SAMPLED, PROMPTS, 2)


@backends
def test_stop_texts_end_a_completion_and_are_no_part_of_it(loaded, name):
    letters = Series.of("m", {"temperature": 2.0, "top_p": 1, "top_k": 0, "max_new_tokens": 40, "seed": 0}, ["e", "a"])
    written = ask(loaded(name), letters, PROMPTS, 4)
    assert any(reason == "stop" for _, reason in written.values())
    assert not any("e" in text or "a" in text for text, _ in written.values())


@pytest.mark.vllm
@needs_vllm
def test_a_sample_does_not_depend_on_how_many_are_asked(loaded):
    few, many = ask(loaded("vllm"), SAMPLED, PROMPTS[:3], 2), ask(loaded("vllm"), SAMPLED, PROMPTS, 5)
    assert few == {key: many[key] for key in few}


@pytest.mark.vllm
@needs_vllm
def test_a_prompt_that_does_not_fit_is_refused_before_anything_is_drawn(loaded):
    with pytest.raises(UserError, match="Show fewer exemplars"):
        ask(loaded("vllm"), GREEDY, ["word " * 20_000])


def test_encoder_decoders_are_never_given_to_vllm(monkeypatch):
    monkeypatch.delenv("DISTILLERY_BACKEND", raising=False)
    assert backend_name("encoder-decoder") == "transformers"
    monkeypatch.setenv("DISTILLERY_BACKEND", "vllm")
    with pytest.raises(UserError, match="encoder-decoder"):
        backend_name("encoder-decoder")


TWO_CALLS = {
    "prompt": {"prompt": "p", "input": "Q: {{ question }}\nA:", "answer_cue": "\nSo it is"},
    "decoding": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 5, "answer_tokens": 3, "seed": 0},
    "samples": 2,
}
QUESTIONS = [Question(qid=f"q{n}", task="t", question=f"{n}?", gold="1") for n in range(3)]


class Prepared(CompletionSampler):
    """An model_sampler with an engine that others use too."""

    def __init__(self, folder, store, backend):
        super().__init__(folder, "m", "causal", store)
        self._backend = backend


def test_two_calls_are_both_kept_and_a_second_run_draws_nothing(folder, loaded, tmp_path):
    store = CompletionStore(str(tmp_path))
    first = Prepared(folder, store, loaded("transformers"))
    drawn, summary = sample(QUESTIONS, [], TWO_CALLS, first, sampler="s")
    assert (first.requested, first.generated, summary["completions"]) == (12, 12, 6)
    assert all(one.answer_text is not None for one in drawn)
    again = CompletionSampler(folder, "m", "causal", store)
    assert sample(QUESTIONS, [], TWO_CALLS, again, sampler="s") == (drawn, summary)
    assert (again.generated, again._backend) == (0, None)


def test_more_samples_draw_only_the_new_ones(folder, loaded, tmp_path):
    store = CompletionStore(str(tmp_path))
    one_call = {**TWO_CALLS, "prompt": {"prompt": "p", "input": "{{ question }}"}}
    few, _ = sample(QUESTIONS, [], one_call, Prepared(folder, store, loaded("transformers")), sampler="s")
    model_sampler = Prepared(folder, store, loaded("transformers"))
    many, _ = sample(QUESTIONS, [], {**one_call, "samples": 4}, model_sampler, sampler="s")
    assert (model_sampler.requested, model_sampler.generated) == (12, 6)
    assert [one for one in many if one.sample_index < 2] == few


@pytest.mark.parametrize("series", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@backends
def test_a_scored_text_is_the_text_with_its_log_probability(loaded, name, series):
    backend = loaded(name)
    plain, scored = ask(backend, series, PROMPTS), ask(backend, replace(series, scored=True), PROMPTS)
    for (text, _), (told, _) in zip(plain.values(), scored.values(), strict=True):
        found = decode_scored(told)
        assert found.log_probability < 0
        if series is GREEDY:
            assert found.text == text


@backends
def test_a_scored_text_tells_whether_a_stop_text_ended_it_and_what_followed(loaded, name):
    series = replace(GREEDY, scored=True)
    for prompt in PROMPTS[:3]:
        ((text, _),) = ask(loaded(name), series, [prompt]).values()
        free = decode_scored(text)
        assert free.tail is None, "nothing to stop at"
        stop = free.text[2]
        ((text, finish),) = ask(loaded(name), replace(series, stop=(stop,)), [prompt]).values()
        cut = decode_scored(text)
        assert (finish, cut.text) == ("stop", free.text[: free.text.index(stop)])
        assert free.text.startswith(cut.text + stop + cut.tail)


@backends
def test_a_choice_is_one_of_the_texts_with_the_probabilities_of_all(loaded, name):
    from distillery.sampling.logprobs import decode_choice

    scores = ("1", "2", "3", "4", "5")
    series = Series.of("m", {"temperature": 0, "max_new_tokens": 1}, [], scores)
    for text, finish in ask(loaded(name), series, PROMPTS).values():
        found = decode_choice(text, scores)
        assert found is not None and set(found.logprobs) == set(scores) and finish == "stop"
        assert found.choice == max(found.logprobs, key=found.logprobs.get)


@pytest.mark.vllm
@needs_vllm
def test_both_backends_give_the_same_shares_to_the_choices(loaded):
    import math

    from distillery.sampling.logprobs import decode_choice

    scores = ("1", "2", "3", "4", "5")
    series = Series.of("m", {"temperature": 0, "max_new_tokens": 1}, [], scores)

    def shares(name: str) -> list[list[float]]:
        given = []
        for _, (text, _) in sorted(ask(loaded(name), series, PROMPTS).items()):
            raw = [math.exp(value) for _, value in sorted(decode_choice(text, scores).logprobs.items())]
            given.append([value / sum(raw) for value in raw])
        return given

    for one, other in zip(shares("transformers"), shares("vllm"), strict=True):
        assert one == pytest.approx(other, abs=0.02)


def test_a_choice_of_several_tokens_is_refused(loaded):
    series = Series.of("m", {"temperature": 0, "max_new_tokens": 1}, [], ("good", "bad"))
    with pytest.raises(UserError, match="several tokens"):
        ask(loaded("transformers"), series, PROMPTS[:1])


def test_an_import_that_fails_leaves_the_garbage_collector_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert gc.isenabled()
    with pytest.raises(ImportError):
        import_libraries.__wrapped__()
    assert gc.isenabled()
