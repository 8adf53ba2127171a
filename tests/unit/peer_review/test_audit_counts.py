"""Figures of one reviewer, by hand: a score of 4 calls a rationale correct, and a mean is over reviews."""

import pytest

from distillery.peer_review.audit import audit
from distillery.peer_review.records import Review
from distillery.records import Completion, Verdict

SCORES = {"q0": (4, "right"), "q1": (3, "wrong"), "q2": (4, "wrong"), "q3": (1, "wrong"), "q4": (5, "right")}


def test_the_cells_of_a_reviewer():
    rationales = [
        Completion(completion_id=f"anna-{qid}", qid=qid, sampler="anna", sample_index=0, text="t",
                   finish_reason="stop", prompt_tokens=1, completion_tokens=1)
        for qid in SCORES
    ]  # fmt: skip
    reviews = [
        Review(qid=qid, author="anna", reviewer="bert", rationale_id=f"anna-{qid}", review_id=None, protocol="robust",
               score=score, path="")
        for qid, (score, _) in SCORES.items()
    ]  # fmt: skip
    verdicts = [
        Verdict(completion_id=f"anna-{qid}", qid=qid, sample_index=0, grader="robust", outcome=outcome, answer=None,
                reason="")
        for qid, (_, outcome) in SCORES.items()
    ]  # fmt: skip
    figures = audit(rationales, reviews, [], verdicts, grader="robust")["reviewers"]["bert"]
    cells = ("true_positives", "false_positives", "true_negatives", "false_negatives")
    assert [figures[name] for name in cells] == [2, 1, 2, 0]
    assert (figures["mean"], figures["accuracy"], figures["share_of_highest"]) == (3.4, 0.8, 0.2)
    assert figures["false_accept_rate"] == pytest.approx(1 / 3) and not figures["lenient"]
