"""No text of a model ends the job: it gets a verdict, and a fault of ours is counted and logged."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.config.task import Grader
from distillery.errors import UserError
from distillery.peer_review.scores import parse_score
from distillery.programs import extract as extraction
from distillery.records import Completion, Outcome, Question
from distillery.verification import judge as judging
from distillery.verification.graders import DEFAULT_GRADERS
from distillery.verification.judge import Reading, judge
from distillery.verification.verify import verify

FUZZ = settings(max_examples=10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 300, deadline=None)
GOLD = {"number": "7", "choice": "B", "yes-no": "yes", "letters": "nk", "text": "Paris"}
PIECES = st.one_of(
    st.sampled_from(
        ["-->", "[", "]", "/5", "score: ", "(A)", "yes", "no", "$", ",", ".", "-", "\u2212", "e", "inf", "nan"]
    ),
    st.sampled_from(
        ["1", "9" * 400, "1e999999999", "\u0663", "\u00b2", "\ud800", "\0", "\u2028", "\x85", "\n", "\ufeff"]
    ),
    st.text(max_size=8),
)
TEXTS = st.lists(PIECES, max_size=40).map("".join)


def completion(text: str, answer_text: str | None = None, finish_reason: str = "stop") -> Completion:
    return Completion.model_construct(
        completion_id="c", qid="q", sample_index=0, text=text, answer_text=answer_text, finish_reason=finish_reason
    )


@pytest.mark.reliability("model-text", cases=FUZZ.max_examples)
@FUZZ
@given(
    TEXTS, st.none() | TEXTS, st.sampled_from(["stop", "length", "refused", "failed"]), st.sampled_from([None, "-->"])
)
def test_every_grader_reads_every_text(text, answer_text, finish_reason, delimiter):
    for kind, graders in DEFAULT_GRADERS.items():
        every = {**graders, "numeric": Grader(candidates="number", compare="number")} if kind == "number" else graders
        written = [completion(text, answer_text, finish_reason)]
        (verdicts,) = judge(written, {"q": GOLD[kind]}, every, Reading(delimiter=delimiter)).verdicts
        assert not [name for name, graded in verdicts.items() if graded.reason.startswith(judging.UNFORESEEN)]


@pytest.mark.reliability("model-text", cases=FUZZ.max_examples)
@FUZZ
@given(TEXTS)
def test_every_reply_of_a_reviewer_is_read(reply):
    for protocol in ("paper", "robust"):
        parsed = parse_score(reply, protocol)
        assert parsed.path != "unreadable"
        assert (parsed.score is None) == (parsed.reason is not None)


def test_a_text_whose_reading_raises_is_unparsable_and_counted(monkeypatch, caplog):
    real = judging.grade

    def faulty(text, *rest):
        if "boom" in text:
            raise OverflowError("nobody foresaw this")
        return real(text, *rest)

    monkeypatch.setattr(judging, "grade", faulty)
    questions = [Question(task="t", qid=qid, question="?", gold="7") for qid in ("a", "b")]
    written = [completion("--> 7").model_copy(update={"qid": "a"}), completion("boom").model_copy(update={"qid": "b"})]
    verdicts, counts, _ = verify(written, questions, DEFAULT_GRADERS["number"], Reading(delimiter="-->"))
    assert [v.outcome for v in verdicts] == [Outcome.RIGHT, Outcome.RIGHT, Outcome.UNPARSABLE, Outcome.UNPARSABLE]
    assert verdicts[-1].reason == "unreadable: OverflowError"
    assert counts["robust"]["unreadable"] == 1
    assert counts["robust"]["outcomes"]["unparsable"] == 1
    assert "nobody foresaw this" in caplog.text


def test_a_program_whose_extraction_raises_is_unparsable(monkeypatch, caplog):
    monkeypatch.setattr(extraction, "_blocks", lambda text: 1 / 0)
    (verdicts,) = judge([completion("def solution(): ...")], {"q": "7"}, {}, Reading(form="program")).verdicts
    assert {(graded.outcome, graded.reason) for graded in verdicts.values()} == {(Outcome.UNPARSABLE, "unreadable")}
    assert "ZeroDivisionError" in caplog.text


def test_a_gold_answer_that_is_none_still_stops_the_job():
    numeric = {"numeric": Grader(candidates="number", compare="number")}
    program = completion("def solution():\n    return 7\n")
    with pytest.raises(ValueError, match="could not convert"):
        judge([completion("--> 7")], {"q": "seven"}, numeric, Reading(delimiter="-->"))
    with pytest.raises(UserError, match="seven"):
        judge([program], {"q": "seven"}, {}, Reading(form="program"))
