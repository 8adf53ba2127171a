"""Acceptance: which rationales are trained on, as a pure function of stored reviews and verdicts.

    rationale -> null? -> gate (answer check) -> enough valid scores? -> calibrated -> aggregate against the threshold

A sweep over thresholds therefore asks no model again. Scores are added as exact fractions, so that a mean that ties
with the threshold ties on every machine and in every order of the reviewers: 149 of the 1,161 released SVAMP rationales
have a mean of exactly 3, and `strict` alone decides them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from distillery.config.review import AcceptanceRule
from distillery.errors import UserError
from distillery.hashing import draw_key
from distillery.peer_review.calibration import Number, calibrated
from distillery.peer_review.records import Acceptance, Decision, Review, is_null
from distillery.records import Completion, Outcome, Verdict

THRESHOLDS = (1.0, 2.0, 3.0, 3.5, 4.0, 4.5)
"""Our own grid; the paper does not give its own."""


def decide(
    rationales: Iterable[Completion],
    reviews: Iterable[Review],
    verdicts: Iterable[Verdict],
    rule: AcceptanceRule,
) -> tuple[list[Acceptance], dict[str, Any]]:
    """The decision on every rationale, and the counts.

    Args:
        rationales: Completions whose `sampler` is the author.
        reviews: Reviews of these rationales; sample 0 of each reviewer counts, repeats are for the audit.
        verdicts: Answer checks of these rationales, by any grader; may be empty if the rule has no gate.
        rule: Section of the recipe.

    Returns:
        Decisions in the order of the rationales; and a summary in which `rationales` is the sum of `decisions`, and
        of `reasons`.

    Raises:
        UserError: A review belongs to no rationale or to an empty one, is doubled, names another author, or has no
            weight; or the rule has a gate and a rationale has no verdict.

    Source: MAPD (arXiv 2410.03663); public code, collect_teacher_res.py. Gate and `undecided` are ours.
    """
    given = list(rationales)
    by_rationale = _grouped(given, reviews, rule)
    valid = {
        rationale: {name: _value(review, rule) for name, review in of.items() if review.score is not None}
        for rationale, of in by_rationale.items()
    }
    values = calibrated(valid, rule.calibration)
    checked = {verdict.completion_id: verdict.outcome for verdict in verdicts if verdict.grader == rule.grader}
    made = [
        _decide(
            rationale,
            by_rationale.get(rationale.completion_id, {}),
            values.get(rationale.completion_id, {}),
            checked.get(rationale.completion_id),
            rule,
        )
        for rationale in given
    ]
    return made, summarise(made)


def summarise(acceptances: Sequence[Acceptance]) -> dict[str, Any]:
    """Counts of decisions: in all, by reason, by author, and of accepted rationales per question."""
    decisions = Counter(acceptance.decision for acceptance in acceptances)
    accepted: Counter[str] = Counter({acceptance.qid: 0 for acceptance in acceptances})
    accepted.update(acceptance.qid for acceptance in acceptances if acceptance.decision == Decision.ACCEPTED)
    authors = {author: Counter[str]() for author in sorted({acceptance.author for acceptance in acceptances})}
    for acceptance in acceptances:
        authors[acceptance.author][acceptance.decision.value] += 1
    return {
        "rationales": len(acceptances),
        "decisions": {decision.value: decisions[decision] for decision in Decision},
        "reasons": dict(sorted(Counter(acceptance.reason for acceptance in acceptances).items())),
        "authors": {
            author: {decision.value: counts[decision.value] for decision in Decision}
            for author, counts in authors.items()
        },
        "questions": len(accepted),
        "questions_with_accepted": sum(count > 0 for count in accepted.values()),
        "accepted_per_question": dict(sorted(Counter(str(count) for count in accepted.values()).items())),
    }


def size_matched(acceptances: Sequence[Acceptance], like: Sequence[Acceptance], seed: int) -> list[Acceptance]:
    """A random choice of as many questions as `like` keeps: it tells the effect of reviews from that of less data.

    Args:
        acceptances: Decisions without the filter (`peers: false`, no gate).
        like: Decisions of the filter that is compared with.
        seed: Seed of the choice. A smaller choice is part of a larger one.

    Returns:
        `acceptances`, in which the rationales of all other questions are rejected.

    Raises:
        UserError: `acceptances` has fewer questions with an accepted rationale than `like`.
    """
    wanted = len({acceptance.qid for acceptance in like if acceptance.decision == Decision.ACCEPTED})
    pool = {acceptance.qid for acceptance in acceptances if acceptance.decision == Decision.ACCEPTED}
    if len(pool) < wanted:
        raise UserError(
            f"{wanted} questions are wanted, but only {len(pool)} have a rationale",
            remedy="Choose from the decisions of a less strict rule than the one to compare with",
        )
    chosen = set(sorted(pool, key=lambda qid: draw_key(seed, "size-matched", qid))[:wanted])
    dropped = {"decision": Decision.REJECTED, "reason": "dropped at random"}
    return [
        acceptance
        if acceptance.qid in chosen or acceptance.decision != Decision.ACCEPTED
        else acceptance.model_copy(update=dropped)
        for acceptance in acceptances
    ]


def aggregate(scores: Mapping[str, Number], rule: AcceptanceRule) -> Fraction:
    """The valid scores of one rationale, by reviewer, as one exact number."""
    exact = {reviewer: Fraction(score) for reviewer, score in scores.items()}
    ordered = sorted(exact.values())
    match rule.aggregate:
        case "mean":
            return sum(ordered, Fraction()) / len(ordered)
        case "median":
            return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        case "min":
            return ordered[0]
        case "weighted":
            weights = {reviewer: _exact((rule.weights or {})[reviewer]) for reviewer in exact}
            return sum((weights[name] * exact[name] for name in exact), Fraction()) / sum(weights.values())


def _exact(value: float) -> Fraction:
    """The number that a setting shows: 3.3 means 33/10, which no binary number equals."""
    return Fraction(repr(value))


def _decide(
    rationale: Completion,
    reviews: Mapping[str, Review],
    valid: Mapping[str, Number],
    gate: Outcome | None,
    rule: AcceptanceRule,
) -> Acceptance:
    number = aggregate(valid, rule) if valid else None
    decision, reason = _verdict(rationale, valid, number, gate, rule)
    return Acceptance(
        qid=rationale.qid,
        author=rationale.sampler,
        completion_id=rationale.completion_id,
        decision=decision,
        aggregate=None if number is None else float(number),
        scores={name: reviews[name].score for name in sorted(reviews)},
        gate=gate,
        reason=reason,
    )


def _verdict(
    rationale: Completion,
    valid: Mapping[str, Number],
    number: Fraction | None,
    gate: Outcome | None,
    rule: AcceptanceRule,
) -> tuple[Decision, str]:
    if is_null(rationale):
        return Decision.REJECTED, "no rationale"
    if rule.gate != "none" and gate is None:
        raise UserError(
            f"a rationale has no verdict of the grader {rule.grader}, which the gate needs",
            key="completion_id",
            value=rationale.completion_id,
            remedy="Verify the teachers' rationales first, or set `gate: none`",
        )
    if rule.gate == "right" and gate != Outcome.RIGHT:
        return Decision.REJECTED, "answer not right"
    if rule.gate == "not-wrong" and gate == Outcome.WRONG:
        return Decision.REJECTED, "answer wrong"
    if not rule.peers:
        return Decision.ACCEPTED, "not reviewed"
    if number is None or len(valid) < rule.min_reviews:
        return Decision.UNDECIDED, "too few valid scores"
    threshold = _exact(rule.threshold)
    if number > threshold or (number == threshold and not rule.strict):
        return Decision.ACCEPTED, "above the threshold" if rule.strict else "at least the threshold"
    return Decision.REJECTED, "not above the threshold" if rule.strict else "below the threshold"


def _value(review: Review, rule: AcceptanceRule) -> int | float:
    value = review.score if rule.value == "score" else review.expected
    if value is None:
        raise UserError(
            "a review has a score, but no expected score",
            key=f"review of {review.rationale_id} by {review.reviewer}",
            remedy="Set `value: score`: only reviewers with known probabilities have an expected score",
        )
    return value


def _grouped(
    rationales: Sequence[Completion], reviews: Iterable[Review], rule: AcceptanceRule
) -> dict[str, dict[str, Review]]:
    """Rationale -> reviewer -> review, each checked to fit its rationale."""
    written = {rationale.completion_id: rationale for rationale in rationales}
    found: dict[str, dict[str, Review]] = {}
    for review in reviews:
        if review.sample_index:
            continue
        of = found.setdefault(review.rationale_id, {})
        rationale = written.get(review.rationale_id)
        problem, remedy = None, "Run the workflow again, so that rationales and reviews are of one version"
        if rationale is None:
            problem = "a review belongs to no rationale"
        elif (rationale.qid, rationale.sampler) != (review.qid, review.author):
            problem = (
                f"a review of {review.author} on {review.qid}, but the rationale is by {rationale.sampler} on"
                f" {rationale.qid}"
            )
        elif is_null(rationale):
            problem = "a review belongs to an empty rationale"
        elif review.reviewer in of:
            problem = "two reviews of one rationale by one reviewer"
        elif rule.weights is not None and review.reviewer not in rule.weights:
            problem, remedy = "a reviewer has no weight", "Name all reviewers in `weights`"
        if problem is not None:
            raise UserError(problem, key=f"review by {review.reviewer}", value=review.rationale_id, remedy=remedy)
        of[review.reviewer] = review
    return found


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
    right = {
        verdict.completion_id
        for verdict in verdicts
        if verdict.grader == rule.grader and verdict.outcome == Outcome.RIGHT
    }
    found = []
    for threshold in thresholds:
        decided, _ = decide(rationales, reviews, verdicts, rule.model_copy(update={"threshold": threshold}))
        accepted = [acceptance for acceptance in decided if acceptance.decision == Decision.ACCEPTED]
        good = sum(acceptance.completion_id in right for acceptance in accepted)
        found.append(
            {
                "threshold": threshold,
                "accepted": len(accepted),
                "questions": len({acceptance.qid for acceptance in accepted}),
                "right": good,
                "precision": good / len(accepted) if accepted else None,
                "recall": good / len(right) if right else None,
            }
        )
    return found
