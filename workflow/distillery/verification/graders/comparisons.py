"""Comparisons: when an answer equals the gold answer (`compare` of a grader)."""

from collections.abc import Callable
from dataclasses import dataclass

TOLERANCE = 1e-6
"""Largest absolute difference of two numbers that count as equal (both papers' evaluators)."""


@dataclass(frozen=True)
class Comparison:
    """One way to compare; `numeric` says that both sides must be numbers."""

    equal: Callable[[str, str], bool]
    numeric: bool = False


COMPARISONS: dict[str, Comparison] = {
    "string": Comparison(lambda answer, gold: answer == gold),
    "casefold": Comparison(lambda answer, gold: answer.casefold() == gold.casefold()),
    "number": Comparison(lambda answer, gold: abs(float(answer) - float(gold)) <= TOLERANCE, numeric=True),
}
