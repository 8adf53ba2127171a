"""Sweeps over acceptance rules: what another threshold would keep, from stored reviews alone."""

from collections.abc import Sequence
from typing import Any

from distillery.config.review import AcceptanceRule
from distillery.records import Completion, Outcome, Verdict
from distillery.review.acceptance import decide
from distillery.review.records import Decision, Review

THRESHOLDS = (1.0, 2.0, 3.0, 3.5, 4.0, 4.5)
"""Of this project; the paper's grid is not known to us."""


def sweep_thresholds(
    rationales: Sequence[Completion],
    reviews: Sequence[Review],
    verdicts: Sequence[Verdict],
    rule: AcceptanceRule,
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[dict[str, Any]]:
    """For each threshold: accepted rationales, questions that keep one, and how many of the accepted are right.

    Everything else is as in `rule`.
    """
    right = {one.completion_id for one in verdicts if one.grader == rule.grader and one.outcome == Outcome.RIGHT}
    found = []
    for threshold in thresholds:
        decided, _ = decide(rationales, reviews, verdicts, rule.model_copy(update={"threshold": threshold}))
        accepted = [one for one in decided if one.decision == Decision.ACCEPTED]
        good = sum(one.completion_id in right for one in accepted)
        found.append(
            {
                "threshold": threshold,
                "accepted": len(accepted),
                "questions": len({one.qid for one in accepted}),
                "right": good,
                "precision": good / len(accepted) if accepted else None,
                "recall": good / len(right) if right else None,
            }
        )
    return found
