"""The yield of a sampling: counts by hand, of rationales and of questions, over the degree."""

from distillery.records import Outcome, Verdict
from distillery.verification.verify import yield_of

OUTCOMES = {  # question -> outcomes of its samples 0, 1, 2
    "a": ["right", "wrong", "right"],
    "b": ["wrong", "right", "truncated"],
    "c": ["wrong", "unparsable", "right"],
    "d": ["wrong", "wrong", "wrong"],
}


def verdicts():
    return [
        Verdict(
            completion_id=f"{qid}{index}", qid=qid, sample_index=index, grader="robust", outcome=outcome, answer=None,
            reason="",
        )
        for qid, outcomes in OUTCOMES.items()
        for index, outcome in enumerate(outcomes)
    ]  # fmt: skip


def test_a_yield_counts_rationales_and_questions_over_the_degree():
    assert yield_of(verdicts()) == {
        "asked": 12,
        "outcomes": {**dict.fromkeys(Outcome, 0), "right": 4, "wrong": 6, "truncated": 1, "unparsable": 1},
        "questions": 4,
        "questions_covered": [1, 2, 3],
        "right_per_question": {"0": 1, "1": 2, "2": 1},
        "share_of_rationales": 0.3333,
        "share_of_questions": 0.75,
    }


def test_the_yield_of_nothing_has_no_shares():
    empty = yield_of([])
    assert (empty["asked"], empty["share_of_rationales"], empty["share_of_questions"]) == (0, None, None)
