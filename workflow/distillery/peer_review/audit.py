"""Audit: how far reviewers agree with each other, with themselves and with the answer check.

The answer check does not judge the reasoning, but it is deterministic and needs no model: a reviewer that gives good
scores to wrong answers is lenient, even if all others agree. A rationale without a verdict of the answer check is left
out of the figures that need one. Shares are fractions, lengths are characters.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

from distillery.peer_review.records import HIGHEST, LOWEST, Acceptance, Decision, Review
from distillery.records import Completion, Outcome, Verdict

SCALE = range(LOWEST, HIGHEST + 1)

GOOD = 4
"""A score of at least this calls a rationale correct (the published figure accepts 4 and 5)."""

LENIENT = 0.5
"""A reviewer whose false accept rate is above this share is flagged as lenient.

In MAPD's release Gemini accepts 159 of 224 wrong rationales (71 %), the others 71 of 265 (27 %) and 33 of 226 (15 %).
"""


def audit(
    rationales: Sequence[Completion],
    reviews: Sequence[Review],
    acceptances: Sequence[Acceptance],
    verdicts: Iterable[Verdict],
    *,
    grader: str,
) -> dict[str, Any]:
    """All figures about a peer review, as plain values.

    Args:
        rationales: All that could be reviewed.
        reviews: Sample 0 of each reviewer; further samples say how far it agrees with itself.
        acceptances: Of these rationales.
        verdicts: Answer checks of these rationales.
        grader: Whose verdicts count.

    Returns:
        `reviews` (`slots` is `valid` plus the sum of `invalid`), and by name `reviewers`, `pairs`, `authors`; and
        `acceptance`, the decisions against the answer check.
    """
    right = {v.completion_id: v.outcome == Outcome.RIGHT for v in verdicts if v.grader == grader}
    first = [review for review in reviews if review.sample_index == 0]
    names = sorted({review.reviewer for review in first})
    by_rationale: dict[str, dict[str, int]] = defaultdict(dict)
    for review in first:
        if review.score is not None:
            by_rationale[review.rationale_id][review.reviewer] = review.score
    pairs = {f"{a}, {b}": _pair(by_rationale.values(), a, b) for a, b in combinations(names, 2)}
    return {
        "reviews": {
            "slots": len(first),
            "valid": sum(review.score is not None for review in first),
            "invalid": dict(sorted(Counter(_kind(review) for review in first if review.score is None).items())),
        },
        "reviewers": {name: _reviewer([r for r in reviews if r.reviewer == name], right) for name in names},
        "pairs": pairs,
        "agreement": {
            key: sum(pair[key] for pair in pairs.values()) for key in ("rationales", "equal", "maximum_split")
        },
        "authors": {
            author: _author(author, rationales, acceptances, right)
            for author in sorted({acceptance.author for acceptance in acceptances})
        },
        "acceptance": _against_check(acceptances, right),
    }


def _kind(review: Review) -> str:
    """The reason without the number in it, so that reasons can be counted."""
    reason = review.reason or ""
    return "outside the scale" if " is outside " in reason else reason


def _reviewer(reviews: Sequence[Review], right: Mapping[str, bool]) -> dict[str, Any]:
    first = [review for review in reviews if review.sample_index == 0]
    scored = [(review.rationale_id, review.score) for review in first if review.score is not None]
    counts = Counter(score for _, score in scored)
    cells = Counter((score >= GOOD, right[rationale]) for rationale, score in scored if rationale in right)
    wrong = cells[True, False] + cells[False, False]
    false_accept_rate = _share(cells[True, False], wrong)
    return {
        "reviews": len(first),
        "valid": len(scored),
        "histogram": {str(score): counts[score] for score in SCALE},
        "mean": fmean(score for _, score in scored) if scored else None,
        "share_of_highest": _share(counts[HIGHEST], len(scored)),
        "true_positives": cells[True, True],
        "false_positives": cells[True, False],
        "true_negatives": cells[False, False],
        "false_negatives": cells[False, True],
        "accuracy": _share(cells[True, True] + cells[False, False], cells.total()),
        "false_accept_rate": false_accept_rate,
        "lenient": false_accept_rate is not None and false_accept_rate > LENIENT,
        "repeats": _repeats(reviews),
    }


def _repeats(reviews: Sequence[Review]) -> dict[str, int]:
    """How often another sample of the same review gave the score of sample 0; both must be valid."""
    first = {review.rationale_id: review.score for review in reviews if review.sample_index == 0}
    again = [
        review.score == first[review.rationale_id]
        for review in reviews
        if review.sample_index and review.score is not None and first.get(review.rationale_id) is not None
    ]
    return {"reviews": len(again), "equal": sum(again)}


def _pair(scores: Iterable[Mapping[str, int]], first: str, second: str) -> dict[str, Any]:
    both = Counter((given[first], given[second]) for given in scores if first in given and second in given)
    split = {(LOWEST, HIGHEST), (HIGHEST, LOWEST)}
    return {
        "rationales": both.total(),
        "equal": sum(count for (a, b), count in both.items() if a == b),
        "maximum_split": sum(count for cell, count in both.items() if cell in split),
        "kappa": weighted_kappa(both),
    }


def weighted_kappa(both: Mapping[tuple[int, int], int]) -> float | None:
    """Cohen's kappa with quadratic weights, of how often each pair of scores was given to one rationale.

    1 is agreement, 0 what chance gives. None where it is not defined: nothing in common, or only one score is used.
    """
    if len({score for cell, count in both.items() if count for score in cell}) < 2:
        return None
    from statsmodels.stats.inter_rater import cohens_kappa  # loads pandas and scipy: only where an audit is made

    table = [[both.get((row, column), 0) for column in SCALE] for row in SCALE]
    return float(cohens_kappa(table, wt="quadratic", return_results=False))


def _author(
    author: str, rationales: Sequence[Completion], acceptances: Sequence[Acceptance], right: Mapping[str, bool]
) -> dict[str, Any]:
    own = [acceptance for acceptance in acceptances if acceptance.author == author]
    lengths = [len(rationale.text) for rationale in rationales if rationale.sampler == author]
    counts = Counter(acceptance.decision for acceptance in own)
    return {
        "rationales": len(own),
        **{decision.value: counts[decision] for decision in Decision},
        "share_accepted": _share(counts[Decision.ACCEPTED], len(own)),
        "right": sum(right.get(acceptance.completion_id, False) for acceptance in own),
        **_precision(own, right),
        "mean_length": fmean(lengths) if lengths else None,
    }


def _precision(acceptances: Iterable[Acceptance], right: Mapping[str, bool]) -> dict[str, Any]:
    """How many of the accepted rationales that the answer check knows have a right answer."""
    known = [
        right[acceptance.completion_id]
        for acceptance in acceptances
        if acceptance.decision == Decision.ACCEPTED and acceptance.completion_id in right
    ]
    return {"accepted_right": sum(known), "precision": _share(sum(known), len(known))}


def _against_check(acceptances: Sequence[Acceptance], right: Mapping[str, bool]) -> dict[str, Any]:
    known = [acceptance for acceptance in acceptances if acceptance.completion_id in right]
    cells = Counter((acceptance.decision, right[acceptance.completion_id]) for acceptance in known)
    good = sum(count for (_, is_right), count in cells.items() if is_right)
    accepted = cells[Decision.ACCEPTED, True], cells[Decision.ACCEPTED, False]
    return {
        "checked": len(known),
        "not_checked": len(acceptances) - len(known),
        "confusion": {
            decision.value: {"right": cells[decision, True], "not_right": cells[decision, False]}
            for decision in Decision
        },
        "precision": _share(accepted[0], sum(accepted)),
        "recall": _share(accepted[0], good),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
