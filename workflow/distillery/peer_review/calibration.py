"""Calibration: scores of lenient and strict reviewers on one scale, before they are aggregated.

    none      scores as they were given
    rank      1 + 4 * (share of the reviewer's own scores below, plus half of those equal)
    z-score   3 + (score - the reviewer's mean) / (the reviewer's standard deviation), cut off at 1 and 5

Both scales go from 1 to 5, and 3 is the middle of a reviewer's own scores: a threshold of 3 asks for more than this
reviewer usually gives. A reviewer that adds a point to every score changes nothing, and a reviewer that gives all
rationales the same score has no influence. A new reviewer does not change the scores of the others.

>>> kind, strict = {"r1": 5, "r2": 5, "r3": 4, "r4": 5}, {"r1": 2, "r2": 2, "r3": 1, "r4": 2}
>>> reviews = {name: {"kind": kind[name], "strict": strict[name]} for name in kind}
>>> [tuple(map(float, given.values())) for given in calibrated(reviews, "rank").values()]
[(3.5, 3.5), (3.5, 3.5), (1.5, 1.5), (3.5, 3.5)]

What this cannot do: notice that all rationales are good, or tell a lenient reviewer from a reviewer of better authors
(authors do not review themselves). It cannot restore differences that a reviewer does not make. With few reviews both
scales are coarse: a single review is always a 3.

Source: ours. Mapping a reviewer's ranks onto the scores of all reviewers, which would keep their level, separates right
from wrong rationales worse than no calibration does on the released SVAMP exchange; see docs/decisions.md.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal

from distillery.peer_review.records import HIGHEST, LOWEST

Calibration = Literal["none", "rank", "z-score"]
Number = int | float | Fraction

MIDDLE = Fraction(LOWEST + HIGHEST, 2)


def calibrated(scores: Mapping[str, Mapping[str, Number]], how: Calibration) -> Mapping[str, Mapping[str, Number]]:
    """Every valid score on the scale of `how`.

    Args:
        scores: Rationale -> reviewer -> valid score. A missing score stays missing.

    Returns:
        The same shape; exact fractions, so that ties are ties on every machine. For `none`, `scores` itself.
    """
    if how == "none":
        return scores
    by_reviewer: dict[str, list[Number]] = defaultdict(list)
    for given in scores.values():
        for reviewer, score in given.items():
            by_reviewer[reviewer].append(score)
    scale = _ranks if how == "rank" else _z_scores
    scales = {reviewer: scale(own) for reviewer, own in by_reviewer.items()}
    return {
        rationale: {reviewer: scales[reviewer][score] for reviewer, score in given.items()}
        for rationale, given in scores.items()
    }


def _ranks(own: Sequence[Number]) -> dict[Number, Fraction]:
    """Score -> calibrated score, of one reviewer. Their mean over all its reviews is 3, exactly."""
    counts, below, found = Counter(own), 0, {}
    for score in sorted(counts):
        found[score] = LOWEST + (HIGHEST - LOWEST) * Fraction(2 * below + counts[score], 2 * len(own))
        below += counts[score]
    return found


def _z_scores(own: Sequence[Number]) -> dict[Number, Fraction]:
    """Score -> calibrated score, of one reviewer; all are 3 if it gives all rationales the same score."""
    exact = [Fraction(score) for score in own]
    mean = sum(exact, Fraction()) / len(exact)
    variance = sum(((score - mean) ** 2 for score in exact), Fraction()) / len(exact)
    # The exact root of most variances is no fraction. IEEE 754 rounds a square root the same way on every machine.
    deviation = Fraction(math.sqrt(variance)) or Fraction(1)
    return {
        score: min(max(MIDDLE + (Fraction(score) - mean) / deviation, Fraction(LOWEST)), Fraction(HIGHEST))
        for score in own
    }
