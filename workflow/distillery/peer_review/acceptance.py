"""Acceptance: which rationales are trained on, as a pure function of stored reviews and verdicts.

    rationale -> null? -> gate (answer check) -> enough valid scores? -> calibrated -> aggregate against the threshold

A sweep over thresholds therefore asks no model again. Scores are added as exact fractions, so that a mean that ties
with the threshold ties on every machine and in every order of the reviewers: 149 of the 1,161 released SVAMP rationales
have a mean of exactly 3, and strictness alone decides about them.
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
"""Of this project; the paper's grid is not known to us."""


def decide(
    rationales: Iterable[Completion],
    reviews: Iterable[Review],
    verdicts: Iterable[Verdict],
    rule: AcceptanceRule,
) -> tuple[list[Acceptance], dict[str, Any]]:
    """The decision on every rationale, and the counts.

    Args:
        rationales: Completions whose `sampler` is the author.
        reviews: Of these; sample 0 of each reviewer counts, repeats are for the audit.
        verdicts: Answer checks of these, by any grader; may be empty where the rule has no gate.
        rule: Section of the recipe.

    Returns:
        Decisions in the order of the rationales; and a summary in which `rationales` is the sum of `decisions`, and
        of `reasons`.

    Raises:
        UserError: A review is of no rationale, of a null one or doubled, names another author, or has no weight; or
            the rule has a gate and a rationale no verdict.

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
            one,
            by_rationale.get(one.completion_id, {}),
            values.get(one.completion_id, {}),
            checked.get(one.completion_id),
            rule,
        )
        for one in given
    ]
    return made, summarise(made)


def summarise(acceptances: Sequence[Acceptance]) -> dict[str, Any]:
    """Counts of decisions: in all, by reason, by author, and of accepted rationales per question."""
    decisions = Counter(one.decision for one in acceptances)
    accepted: Counter[str] = Counter({one.qid: 0 for one in acceptances})
    accepted.update(one.qid for one in acceptances if one.decision == Decision.ACCEPTED)
    authors = {author: Counter[str]() for author in sorted({one.author for one in acceptances})}
    for one in acceptances:
        authors[one.author][one.decision.value] += 1
    return {
        "rationales": len(acceptances),
        "decisions": {decision.value: decisions[decision] for decision in Decision},
        "reasons": dict(sorted(Counter(one.reason for one in acceptances).items())),
        "authors": {
            author: {decision.value: counts[decision.value] for decision in Decision}
            for author, counts in authors.items()
        },
        "questions": len(accepted),
        "questions_with_accepted": sum(count > 0 for count in accepted.values()),
        "accepted_per_question": dict(sorted(Counter(str(count) for count in accepted.values()).items())),
    }


def size_matched(acceptances: Sequence[Acceptance], like: Sequence[Acceptance], seed: int) -> list[Acceptance]:
    """As many questions as `like` accepts something of, drawn at random: "review helps" apart from "less data".

    Args:
        acceptances: Decisions without the filter (`peers: false`, no gate).
        like: Decisions of the filter that is compared with.
        seed: Draws the questions. Fewer questions are part of more.

    Returns:
        `acceptances`, those of the other questions rejected.

    Raises:
        UserError: `acceptances` has fewer questions with an accepted rationale than `like`.
    """
    wanted = len({one.qid for one in like if one.decision == Decision.ACCEPTED})
    pool = {one.qid for one in acceptances if one.decision == Decision.ACCEPTED}
    if len(pool) < wanted:
        raise UserError(
            f"{wanted} questions are to be drawn, and {len(pool)} have a rationale",
            remedy="Draw from decisions of a rule that is laxer than the one compared with",
        )
    drawn = set(sorted(pool, key=lambda qid: draw_key(seed, "size-matched", qid))[:wanted])
    dropped = {"decision": Decision.REJECTED, "reason": "dropped at random"}
    return [
        one if one.qid in drawn or one.decision != Decision.ACCEPTED else one.model_copy(update=dropped)
        for one in acceptances
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
    """A setting as it is written: 3.3 means 33/10, which no binary number is."""
    return Fraction(repr(value))


def _decide(
    one: Completion,
    reviews: Mapping[str, Review],
    valid: Mapping[str, Number],
    gate: Outcome | None,
    rule: AcceptanceRule,
) -> Acceptance:
    number = aggregate(valid, rule) if valid else None
    decision, reason = _verdict(one, valid, number, gate, rule)
    return Acceptance(
        qid=one.qid,
        author=one.sampler,
        completion_id=one.completion_id,
        decision=decision,
        aggregate=None if number is None else float(number),
        scores={name: reviews[name].score for name in sorted(reviews)},
        gate=gate,
        reason=reason,
    )


def _verdict(
    one: Completion,
    valid: Mapping[str, Number],
    number: Fraction | None,
    gate: Outcome | None,
    rule: AcceptanceRule,
) -> tuple[Decision, str]:
    if is_null(one):
        return Decision.REJECTED, "no rationale"
    if rule.gate != "none" and gate is None:
        raise UserError(
            f"a rationale has no verdict of the grader {rule.grader}, which the gate asks",
            key="completion_id",
            value=one.completion_id,
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
            remedy="Set `value: score`: only reviewers with known probabilities have the other",
        )
    return value


def _grouped(
    rationales: Sequence[Completion], reviews: Iterable[Review], rule: AcceptanceRule
) -> dict[str, dict[str, Review]]:
    """Rationale -> reviewer -> review, each checked to fit its rationale."""
    written = {one.completion_id: one for one in rationales}
    found: dict[str, dict[str, Review]] = {}
    for review in reviews:
        if review.sample_index:
            continue
        of = found.setdefault(review.rationale_id, {})
        one = written.get(review.rationale_id)
        problem, remedy = None, "Run the workflow again, so that rationales and reviews are of one version"
        if one is None:
            problem = "a review is of no rationale"
        elif (one.qid, one.sampler) != (review.qid, review.author):
            problem = f"a review of {review.author} on {review.qid}, but the rationale is {one.sampler}'s on {one.qid}"
        elif is_null(one):
            problem = "a review is of a rationale that does not exist"
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
