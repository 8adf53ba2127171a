"""Each field of `Decoding` changes what an engine does, on every engine, and what a request is kept under.

Expectations come from the model's own logits, computed here by one pass over prompt and text: the place of each written
token among all tokens, and the probability of those before it.
"""

import importlib.util
import json
import shutil

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from distillery.config.model import RandomModel
from distillery.config.sampler import Decoding
from distillery.errors import UserError
from distillery.models.sources import prepare_model
from distillery.records import Question
from distillery.sampling.backends.base import PendingRequest, open_backend
from distillery.sampling.logprobs import decode_scored
from distillery.sampling.requests import Request, Series, seed_of
from distillery.sampling.sampler import CompletionSampler, sample
from distillery.sampling.store import CompletionStore

needs_vllm = pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed here")
engines = pytest.mark.parametrize(
    "engine", ["transformers", pytest.param("vllm", marks=[pytest.mark.vllm, needs_vllm])]
)
HOT = {"temperature": 2.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 12, "answer_tokens": 4, "seed": 0}
PROMPTS = ["Q: one, A", "Q: two and two? B:", "Q: three! C-"]


class Text(str):
    """A text with the request that it answers, so that its tokens can be ranked."""

    prompt: str
    length: int
    prompt_length: int
    finish: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random model with clear preferences: its logits have a standard deviation of about 1.6."""
    out = tmp_path_factory.mktemp("models") / "sharp"
    prepare_model(RandomModel(kind="random", layers=1, seed=3), out, parent=None, downloads=out.parent)
    config = AutoConfig.from_pretrained(out)
    config.tie_word_embeddings = False  # tied ones repeat the last token
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_()
        model.lm_head.weight.normal_(std=0.2)
        model.lm_head.weight[:4] = 0  # special tokens are unlikely, so that few texts end early
    model.save_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    bos = ("<bos>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[bos])
    tokenizer.save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def loaded(folder):
    """Each engine once: the large one takes seconds to start."""
    made = {}

    def load(engine: str):
        if engine not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("DISTILLERY_BACKEND", engine)
                made[engine] = open_backend(folder, "causal")
        return made[engine]

    return load


@pytest.fixture(scope="module")
def shares(folder):
    """Log-probabilities of every token at each place of a text that follows a prompt, by a plain pass."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    def of(prompt: str, text: str) -> tuple[torch.Tensor, list[int]]:
        asked, written = tokenizer(prompt).input_ids, tokenizer(text, add_special_tokens=False).input_ids
        with torch.inference_mode():
            logits = model(torch.tensor([asked + written])).logits[0, len(asked) - 1 : -1]
        return logits, written

    return of


@pytest.fixture(scope="module")
def greedy(folder):
    """The most likely text, token by token, without any library's generation."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    def of(prompt: str, tokens: int) -> str:
        ids = tokenizer(prompt).input_ids
        start = len(ids)
        with torch.inference_mode():
            for _ in range(tokens):
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        return tokenizer.decode(ids[start:], clean_up_tokenization_spaces=False)

    return of


def written(backend, changes: dict, stop: tuple[str, ...] = (), samples: int = 2, scored: bool = False) -> list[Text]:
    """What an engine writes under HOT with these changes, in the order of prompts and samples."""
    series = Series.of("m", {**HOT, **changes}, list(stop), scored=scored)
    requests = [Request(prompt, index) for prompt in PROMPTS for index in range(samples)]
    asked = [PendingRequest(one.key(series), one, seed_of(one.key(series))) for one in requests]
    found = {}
    for generated, prompt in ((g, next(p for p in asked if p.key == g.key)) for g in backend.generate(asked, series)):
        text = Text(generated.text)
        text.prompt, text.prompt_length = prompt.request.prompt, generated.prompt_tokens
        text.length, text.finish = generated.completion_tokens, generated.finish_reason
        found[generated.key] = text
    return [found[pending.key] for pending in asked]


def ranks(shares, text: Text) -> list[int]:
    """Place of each written token among all, 0 for the most likely."""
    logits, ids = shares(text.prompt, text)
    return [int((row > row[token]).sum()) for row, token in zip(logits, ids, strict=True)]


def temperature(backend, shares, greedy) -> None:
    hot, mild, cold = (written(backend, {"temperature": t}) for t in (2.0, 1.0, 0.02))
    mean = [sum(sum(ranks(shares, text)) for text in texts) / sum(map(len, texts)) for texts in (hot, mild, cold)]
    assert mean[0] - 5 > mean[1] > 3 > 0.2 > mean[2], f"places of 100 tokens, on average: {mean}"
    assert written(backend, {"temperature": 0.0}) == [greedy(text.prompt, 12) for text in hot]


def top_p(backend, shares, greedy) -> None:
    for share, alike in ((1e-6, True), (0.5, False), (1.0, False)):
        texts = written(backend, {"temperature": 2.0, "top_p": share})
        before = []
        for text in texts:
            logits, ids = shares(text.prompt, text)
            probabilities = (logits / 2.0).softmax(-1)
            before += [
                float(row[row > row[token]].sum()) for row, token in zip(probabilities, ids, strict=True)
            ]  # the tokens that are likelier than the one written
        assert (max(before) < share + 1e-3) and (share == 1.0 or alike or max(before) > 0.05)
        assert share != 1.0 or max(before) > 0.55, "without a limit tokens beyond the half come up"
        assert not alike or texts == [greedy(text.prompt, 12) for text in texts]


def top_k(backend, shares, greedy) -> None:
    highest = {
        limit: max(max(ranks(shares, text), default=0) for text in written(backend, {"top_k": limit}))
        for limit in (0, 1, 3)
    }
    assert highest[1] == 0 and highest[3] == 2 and highest[0] > 30
    assert written(backend, {"top_k": 1}) == [greedy(text.prompt, 12) for text in written(backend, {"top_k": 1})]


def max_new_tokens(backend, shares, greedy) -> None:
    for limit in (1, 5, 12):
        texts = written(backend, {"temperature": 0.0, "max_new_tokens": limit}, samples=1)
        assert texts == [greedy(text.prompt, limit) for text in texts] and {text.length for text in texts} == {limit}
        assert {text.finish for text in texts} == {"length"}
        assert all(text.prompt_length == len(text.prompt) + 1 for text in texts), "characters and the first token"


def seed(backend, shares, greedy) -> None:
    first, again, other = (written(backend, {"temperature": 1.0, "seed": number}) for number in (0, 0, 1))
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))


def answer_tokens(backend, shares, greedy) -> None:
    """Not an engine's affair: see `test_the_second_call_is_greedy_and_short`."""
    assert "answer_tokens" not in Series.__dataclass_fields__


CASES = {case.__name__: case for case in (temperature, top_p, top_k, max_new_tokens, seed, answer_tokens)}


def test_every_field_has_a_case():
    assert set(CASES) == set(Decoding.model_fields) == set(HOT)


@pytest.mark.parametrize("field", CASES)
@engines
def test_a_field_reaches_the_engine(loaded, shares, greedy, engine, field):
    CASES[field](loaded(engine), shares, greedy)


@engines
def test_a_stop_text_reaches_the_engine(loaded, greedy, engine):
    whole = [greedy(prompt, 12) for prompt in PROMPTS]
    stop = whole[0][3]
    texts = written(loaded(engine), {"temperature": 0.0}, [stop], samples=1)
    assert texts == [text.split(stop)[0] for text in whole]
    for text, free in zip(texts, whole, strict=True):
        assert text.length == len(text) + (stop in free), "the stop text is counted, and no padding behind it"
        assert text.finish == ("stop" if stop in free else "length")
    assert len({text.length for text in texts}) > 1, "else no text is padded"


@engines
def test_a_log_probability_is_of_the_written_tokens_alone(loaded, shares, greedy, engine):
    stop = greedy(PROMPTS[0], 12)[3]
    texts = written(loaded(engine), {"temperature": 0.0}, [stop], samples=1, scored=True)
    for stored, prompt in zip(texts, PROMPTS, strict=True):
        found, free = decode_scored(stored), greedy(prompt, 12)
        logits, ids = shares(prompt, free[: free.index(stop) + 1] if stop in free else free)
        expected = float(logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None]).sum())
        assert found.log_probability == pytest.approx(expected, abs=0.02)
        assert (found.text, found.tail) == (free.split(stop)[0], "" if stop in free else None)


@engines
def test_a_chat_template_brings_its_own_special_tokens(loaded, engine):
    series = Series.of("m", {**HOT, "temperature": 0.0}, [])
    requests = [Request("<bos>Q: one?", 0, special_tokens=False), Request("Q: one?", 0)]
    pending = [[PendingRequest(one.key(series), one, 0)] for one in requests]
    first, second = (list(loaded(engine).generate(one, series)) for one in pending)
    assert first[0].prompt_tokens == second[0].prompt_tokens == 8 and first[0].text == second[0].text


QUESTIONS = [Question(qid=f"q{n}", task="t", question=word, gold="1") for n, word in enumerate(("one?", "two?"))]
TWO_CALLS = {"prompt": "p", "input": "Q: {{ question }}\nA:", "answer_cue": "\nSo"}


def model_sampler(folder, backend, store) -> CompletionSampler:
    made = CompletionSampler(folder, "m", "causal", CompletionStore(str(store)))
    made._backend = backend
    return made


@engines
def test_samples_of_one_question_differ(loaded, folder, tmp_path, monkeypatch, engine):
    monkeypatch.setenv("DISTILLERY_GENERATION_BATCH", "1")  # rows of one batch would differ under one seed too
    spec = {"prompt": {"prompt": "p", "input": "{{ question }}"}, "decoding": {**HOT, "temperature": 1.0}, "samples": 4}
    drawn, _ = sample(QUESTIONS, [], spec, model_sampler(folder, loaded(engine), tmp_path), sampler="s")
    assert len({one.text for one in drawn}) == len({one.completion_id for one in drawn}) == 8
    assert len({seed_of(one.completion_id) for one in drawn}) == 8


@engines
def test_the_second_call_is_greedy_and_short(loaded, folder, greedy, tmp_path, engine):
    spec = {"prompt": TWO_CALLS, "decoding": HOT, "samples": 2}
    drawn, _ = sample(QUESTIONS, [], spec, model_sampler(folder, loaded(engine), tmp_path), sampler="s")
    for one in drawn:
        asked = f"Q: {QUESTIONS[int(one.qid[1])].question}\nA:{one.text}\nSo"
        assert one.answer_text == greedy(asked, 4)


@pytest.mark.vllm
@needs_vllm
def test_a_temperature_that_vllm_refuses_is_named(loaded):
    with pytest.raises(UserError, match=r"decoding.temperature = 2.5: vLLM samples at temperatures up to 2"):
        written(loaded("vllm"), {"temperature": 2.5})


@engines
def test_nothing_but_the_settings_decides_how_text_is_drawn(folder, greedy, tmp_path, monkeypatch, engine):
    """Many models bring a `generation_config.json` with penalties and limits of their own."""
    own = shutil.copytree(folder, tmp_path / "own")
    config = {"do_sample": True, "temperature": 0.5, "top_k": 2, "repetition_penalty": 3.0, "no_repeat_ngram_size": 1}
    (own / "generation_config.json").write_text(json.dumps({**config, "min_p": 0.9, "max_length": 5}))
    monkeypatch.setenv("DISTILLERY_BACKEND", engine)
    backend = open_backend(own, "causal")
    texts = written(backend, {"temperature": 0.0}, samples=1)
    assert texts == [greedy(text.prompt, 12) for text in texts]
    assert len(set("".join(written(backend, {})))) > 40, "all tokens may come"
