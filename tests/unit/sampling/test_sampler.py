"""From questions to completions: which prompt each sample sees, what is asked again, and what is reported."""

import json
from types import SimpleNamespace

import pytest

from distillery.errors import UserError
from distillery.records import Question
from distillery.sampling import sampler as sampling
from distillery.sampling.backends.base import Generated
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


def generated(pending, text: str, reason: str = "stop") -> Generated:
    return Generated(pending.key, text, reason, prompt_tokens=5, completion_tokens=2)


def test_a_record_has_the_question_the_answer_of_the_second_call_and_the_tokens_of_both(recording):
    two_calls = spec(2, exemplars=0, exemplar=None, answer_cue=" So: ")
    completions, summary = sample(QUESTIONS[:1], [], two_calls, recording, sampler="teach")
    (first_series, first), (second_series, second) = recording.recorder.calls
    assert [record.model_dump() for record in completions] == [
        {
            "completion_id": first[n].key, "qid": "qa", "sampler": "teach", "sample_index": n, "text": f" s{n}.",
            "finish_reason": "stop", "answer_text": " s0.", "answer_id": second[n].key, "prompt_tokens": 2,
            "completion_tokens": 2,
        }
        for n in (0, 1)
    ]  # fmt: skip
    assert summary == {
        "completions": 2, "questions": 1, "finish_reasons": {"stop": 2}, "prompt_tokens": 4, "completion_tokens": 4,
        "distinct_texts": 2,
    }  # fmt: skip
    assert (first_series.max_new_tokens, second_series.max_new_tokens) == (9, 3)


def test_the_report_counts_requests_tokens_and_seconds(recording, monkeypatch, caplog):
    now = iter([10.0, 12.5])
    monkeypatch.setattr(sampling.time, "monotonic", lambda: next(now, 12.5))
    plain = spec(2, exemplars=0, exemplar=None)
    recording.parameters = 7
    sample(QUESTIONS[:1], [], plain, recording, sampler="s")
    sample(QUESTIONS[:1], [], plain, recording, sampler="s")
    assert recording.report() == {
        "requested": 4, "generated": 2, "completion_tokens": 2, "seconds": pytest.approx(2.5), "parameters": 7,
    }  # fmt: skip


def test_stored_outcomes_that_the_user_wants_again_are_requested_again(tmp_path, monkeypatch):
    class Failing(Recorder):
        def generate(self, requests, series):
            self.calls.append((series, list(requests)))
            reasons = ["failed", "refused", "stop"]
            yield from (generated(pending, "", reasons[pending.request.sample_index]) for pending in requests)

    recording = RecordingSampler(tmp_path, Failing(), tmp_path / "s")
    plain = spec(3, exemplars=0, exemplar=None)
    for again, count in [(None, 3), ("", 0), ("length", 0), ("failed", 1), ("failed,refused", 2)]:
        monkeypatch.delenv(sampling.AGAIN_VARIABLE, raising=False)
        if again is not None:
            monkeypatch.setenv(sampling.AGAIN_VARIABLE, again)
        recording.recorder.calls.clear()
        sample(QUESTIONS[:1], [], plain, recording, sampler="s")
        assert len(recording.recorder.prompts) == count, again


def test_an_engine_that_gives_too_few_completions_is_a_fault_with_both_counts(tmp_path):
    class Short(Recorder):
        def generate(self, requests, series):
            yield generated(requests[0], "one")

    with pytest.raises(RuntimeError, match=r"^sample s: the backend gave 1 completions for 2 requests$"):
        sample(QUESTIONS, [], spec(exemplars=0, exemplar=None), RecordingSampler(tmp_path, Short(), tmp_path / "s"),
               sampler="s")  # fmt: skip


def test_answers_under_way_at_an_interruption_are_billed_and_stored(tmp_path):
    class Interrupted(Recorder):
        def generate(self, requests, series):
            self.requests = list(requests)
            yield generated(requests[0], "first")
            raise KeyboardInterrupt

        def answers_in_flight(self):
            yield generated(self.requests[1], "second")

    plain = spec(exemplars=0, exemplar=None)
    recording = RecordingSampler(tmp_path, Interrupted(), tmp_path / "s")
    with pytest.raises(KeyboardInterrupt):
        sample(QUESTIONS, [], plain, recording, sampler="s")
    assert recording.tokens == 4
    again = RecordingSampler(tmp_path, Recorder(), tmp_path / "s")
    completions, _ = sample(QUESTIONS, [], plain, again, sampler="s")
    assert ([record.text for record in completions], again.generated) == (["first", "second"], 0)
    assert {record.prompt_tokens for record in completions} == {5}


def test_the_sampler_of_a_model_is_that_of_its_manifest(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLERY_STORE", str(tmp_path / "s"))
    facts = SimpleNamespace(identity="weights:m", architecture="causal", parameters=9)
    monkeypatch.setattr(sampling, "read_manifest", lambda path: facts)
    found = CompletionSampler.of(tmp_path / "manifest.json")
    assert (found.folder, found.identity, found.architecture, found.parameters) == (
        tmp_path / "model", "weights:m", "causal", 9,
    )  # fmt: skip
    assert CompletionSampler(tmp_path, "w", "causal", found.store).parameters == 0
