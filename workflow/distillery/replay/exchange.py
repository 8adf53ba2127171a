"""A released exchange between a student and its teachers, as part of a task.

Its questions become the task's own; its counts are those of its makers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distillery.config.review import AcceptanceRule
from distillery.errors import UserError
from distillery.records import Completion, Question
from distillery.review.acceptance import decide
from distillery.review.records import Decision, Mistake, Review

PAPER = AcceptanceRule(threshold=3.0, strict=True, aggregate="mean", min_reviews=1, gate="none")
"""MAPD's rule as its public code has it."""


class Exchange(NamedTuple):
    """All that one data set's files hold."""

    questions: list[Question]
    mistakes: list[Mistake]
    feedback: list[Completion]
    rationales: list[Completion]
    reviews: list[Review]
    accepted: frozenset[str]
    """`completion_id` of the rationales that the release lists as accepted, to compare decisions with."""


def golden(exchange: Exchange) -> dict[str, Any]:
    """Counts of an exchange under the published rule, and whether that rule gives the released list of acceptances."""
    decided, counts = decide(exchange.rationales, exchange.reviews, [], PAPER)
    accepted = {one.completion_id for one in decided if one.decision == Decision.ACCEPTED}
    return {
        "mistakes": len(exchange.mistakes),
        "unparsable": sum(one.kind == "unparsable" for one in exchange.mistakes),
        "rationales": len(exchange.rationales),
        "reviews": len(exchange.reviews),
        "reviews_without_score": sum(one.score is None for one in exchange.reviews),
        "accepted": len(accepted),
        "questions_with_accepted": counts["questions_with_accepted"],
        "accepted_per_question": counts["accepted_per_question"],
        "released_list_reproduced": accepted == exchange.accepted,
    }


def as_task(exchange: Exchange, questions: Sequence[Question], file: Path) -> Exchange:
    """The exchange under the ids of a task's train questions, which are found by their text.

    Raises:
        UserError: A question of the exchange is none of the task's train questions, or has another gold answer there.
    """
    known = {_same(question.question): question for question in questions}
    ids: dict[str, Question] = {}
    for asked in exchange.questions:
        own = known.get(_same(asked.question))
        if own is None or _number(own.gold) != _number(asked.gold):
            raise UserError(
                "the task's train split lacks this question, or has another gold answer",
                file=file,
                key=asked.qid,
                value=asked.question,
                remedy="Declare a task whose train split holds the questions of the release",
            )
        ids[asked.qid] = own
    return exchange._replace(
        questions=[ids[one.qid] for one in exchange.questions],
        mistakes=[
            one.model_copy(update={"qid": own.qid, "question": own.question, "gold": own.gold})
            for one in exchange.mistakes
            for own in [ids[one.qid]]
        ],
        feedback=[one.model_copy(update={"qid": ids[one.qid].qid}) for one in exchange.feedback],
        rationales=[one.model_copy(update={"qid": ids[one.qid].qid}) for one in exchange.rationales],
        reviews=[one.model_copy(update={"qid": ids[one.qid].qid}) for one in exchange.reviews],
    )


def _same(text: str) -> str:
    """A question without what two copies of a data set write differently."""
    return " ".join(text.casefold().split())


def _number(text: str) -> float | str:
    """Two copies of SVAMP write 145 and 145.0."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return text.strip().casefold()
