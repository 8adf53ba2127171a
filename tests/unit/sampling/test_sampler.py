"""From questions to completions: which prompt each sample sees, what is asked again, and what is reported."""

import json

import pytest

from distillery.errors import UserError
from distillery.records import Question
from distillery.sampling import sampler as sampling
from distillery.sampling.budget import LIMITS_VARIABLE, PRICES_VARIABLE, RUN_VARIABLE, price_of
from distillery.sampling.sampler import CompletionSampler, sample
from distillery.sampling.store import CompletionStore

from .recorded import Recorder, RecordingSampler

QUESTIONS = [
    Question(qid="qa", task="t", question="red fish swim", gold="1"),
    Question(qid="qb", task="t", question="old cars stop", gold="2"),
]
EXEMPLARS = [
    {"question": question, "rationale": f"r{n}", "gold": str(n)}
    for n, question in enumerate(("old cars", "red fish and cars stop", "fish swim", "red fish", "stop", "birds"))
]
FEW_SHOT = {
    "prompt": "p", "input": "Q: {{ question }}\nA:", "exemplar": "Q: {{ question }}\nA: {{ rationale }}",
    "exemplars": 2, "separator": "\n", "instruction": "Think.",
}  # fmt: skip
DRAWN = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 9, "answer_tokens": 3, "seed": 0}


@pytest.fixture
def recording(tmp_path):
    return RecordingSampler(tmp_path, Recorder(lambda pending: f" s{pending.request.sample_index}."), tmp_path / "s")


def spec(samples: int = 1, **prompt) -> dict:
    return {"prompt": {**FEW_SHOT, **prompt}, "decoding": DRAWN, "samples": samples}


def shown(*numbers: int, question: str = "red fish swim") -> str:
    """A prompt of FEW_SHOT with these exemplars, by hand."""
    worked = "".join(f"Q: {EXEMPLARS[n]['question']}\nA: r{n}\n" for n in numbers)
    return f"Think.\n{worked}Q: {question}\nA:"


def test_sample_i_shows_block_i_of_the_exemplars(recording):
    drawn, _ = sample(QUESTIONS[:1], EXEMPLARS, spec(5, rounds=2, first_exemplar=1), recording, sampler="s")
    first, second = shown(1, 2), shown(3, 4)
    assert recording.recorder.prompts == [first, second, first, second, first]
    assert [(one.sample_index, one.text) for one in drawn] == [(n, f" s{n}.") for n in range(5)]


def test_similar_exemplars_are_chosen_for_each_question_by_shared_words(recording):
    """Shares of common words: for the first question 2/3 twice, then 2/6. The nearest stands last."""
    sample(QUESTIONS, EXEMPLARS, spec(select="similar", exemplars=3), recording, sampler="s")
    assert recording.recorder.prompts == [shown(1, 3, 2), shown(4, 1, 0, question="old cars stop")]


def test_blocks_of_similar_exemplars_follow_their_order(recording):
    sample(QUESTIONS[:1], EXEMPLARS, spec(2, select="similar", rounds=2), recording, sampler="s")
    assert recording.recorder.prompts == [shown(3, 2), shown(0, 1)], "the next two of all six"


def test_an_answer_is_asked_of_each_text_after_its_own_prompt(recording):
    two_calls = spec(2, exemplars=0, exemplar=None, instruction=None, answer_cue=" So", rounds=1)
    drawn, counts = sample(QUESTIONS, [], two_calls, recording, sampler="s")
    (first, asked), (second, cued) = recording.recorder.calls
    prompts = [f"Q: {one.question}\nA:" for one in QUESTIONS for _ in range(2)]
    assert [pending.request.prompt for pending in asked] == prompts
    assert [pending.request.prompt for pending in cued] == [
        f"{prompt} s{n % 2}. So" for n, prompt in enumerate(prompts)
    ]
    assert (first.temperature, first.max_new_tokens) == (1.0, 9)
    assert (second.temperature, second.max_new_tokens, second.top_p, second.top_k, second.seed) == (0.0, 3, 1.0, 0, 0)
    assert [one.qid for one in drawn] == ["qa", "qa", "qb", "qb"] and {one.answer_text for one in drawn} == {" s0."}
    assert {(one.prompt_tokens, one.completion_tokens) for one in drawn} == {(2, 2)}, "of both calls"
    assert counts == {
        "completions": 4, "questions": 2, "finish_reasons": {"stop": 4}, "prompt_tokens": 8, "completion_tokens": 8,
        "distinct_texts": 4,
    }  # fmt: skip


def test_only_what_the_store_lacks_is_asked(recording, tmp_path):
    plain = spec(exemplars=0, exemplar=None)
    sample(QUESTIONS[:1], [], plain, recording, sampler="s")
    sample(QUESTIONS, [], plain, recording, sampler="other name")
    assert len(recording.recorder.prompts) == 2 and (recording.requested, recording.generated) == (3, 2)
    assert recording.report()["completion_tokens"] == 2
    other = CompletionSampler(tmp_path, "weights:other", "causal", CompletionStore(str(tmp_path / "s")))
    other._backend = Recorder()
    sample(QUESTIONS[:1], [], plain, other, sampler="s")
    assert other.generated == 1, "other weights are asked again"


def test_no_engine_is_opened_when_the_store_has_all(recording, tmp_path, monkeypatch):
    sample(QUESTIONS, [], spec(exemplars=0, exemplar=None), recording, sampler="s")
    again = CompletionSampler(tmp_path, "weights:m", "causal", CompletionStore(str(tmp_path / "s")))
    monkeypatch.setattr(sampling, "open_backend", None)
    assert len(sample(QUESTIONS, [], spec(exemplars=0, exemplar=None), again, sampler="s")[0]) == 2


def test_a_chat_template_is_not_applied_for_an_endpoint_which_has_its_own(recording, tmp_path):
    (tmp_path / "api.json").write_text("{}")
    sample(QUESTIONS[:1], [], spec(exemplars=0, exemplar=None, chat=True, instruction=None), recording, sampler="s")
    ((_, (pending,)),) = recording.recorder.calls
    assert (pending.request.prompt, pending.request.special_tokens) == ("Q: red fish swim\nA:", False)


def test_a_text_whose_prompt_ends_with_an_opening_tag_shows_the_tag_and_the_answer_call_does_not(recording):
    opened = spec(input="Q: {{ question }}\n<think>\n", answer_cue=" So", stop=[])
    drawn, _ = sample(QUESTIONS[:1], EXEMPLARS, opened, recording, sampler="s")
    assert [completion.text for completion in drawn] == ["<think>\n s0."]
    assert recording.recorder.prompts[-1] == recording.recorder.prompts[0] + " s0. So"


@pytest.mark.parametrize(
    ("limits", "kept"), [({"samples": 3}, 3), ({"tokens": 2}, 2), ({"money": 7.0}, 3), ({"samples": 0}, 0)]
)
def test_a_spent_budget_stops_and_keeps_what_came(tmp_path, monkeypatch, limits, kept):
    monkeypatch.setenv(LIMITS_VARIABLE, json.dumps({"samples": None, "tokens": None, "money": None, **limits}))
    monkeypatch.setenv(RUN_VARIABLE, "this")
    monkeypatch.setenv(PRICES_VARIABLE, json.dumps({"weights:m": [1e6, 2e6]}))
    monkeypatch.setenv("DISTILLERY_WORK", str(tmp_path))
    recording = RecordingSampler(tmp_path, Recorder(), tmp_path / "s")
    with pytest.raises(UserError, match=f"{6 - kept} are missing"):
        sample(QUESTIONS, [], spec(3, exemplars=0, exemplar=None), recording, sampler="s")
    assert len(recording.recorder.prompts) == (kept if "samples" in limits else 6), (
        "no engine is asked beyond the limit"
    )
    monkeypatch.setenv(LIMITS_VARIABLE, "{}")
    again = RecordingSampler(tmp_path, Recorder(), tmp_path / "s")
    sample(QUESTIONS, [], spec(3, exemplars=0, exemplar=None), again, sampler="s")
    assert again.generated == 6 - kept


def test_a_price_is_for_a_million_tokens_of_each_kind(monkeypatch):
    monkeypatch.setenv(PRICES_VARIABLE, json.dumps({"m": [3.0, 15.0]}))
    assert price_of("m", 2_000_000, 1_000_000) == 21.0
    assert price_of("another", 2_000_000, 1_000_000) == 0.0
