"""What a kind of answer is: how candidates are found in a text, and how its two default graders read them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distillery.config.task import Grader

Candidates = Callable[[str], Iterator[str]]
"""Yields what may be an answer in a region of text, in reading order."""


@dataclass(frozen=True)
class GraderKind:
    """A kind of answer (`answer` of a task, `candidates` of a grader).

    Args:
        candidates: The candidates that a grader of this kind finds; called once for each grader.
        noun: What a candidate is called in the reason of a verdict.
        paper: Settings of the default grader `paper`, the loose rule of the papers' evaluators.
        robust: Settings of the default grader `robust`, beside those that all share (`STRICT`).
        gold: The gold answer in the form in which it is compared.
        numeric: Candidates and gold answers are numbers, so that they can be compared as such.
        guess: Expected accuracy of guessing, from the questions and the robust grader; None if nobody can tell.
    """

    candidates: Callable[[Grader], Candidates]
    noun: Callable[[Grader], str]
    paper: Mapping[str, Any] = field(default_factory=dict)
    robust: Mapping[str, Any] = field(default_factory=dict)
    gold: Callable[[str], str] = str
    numeric: bool = False
    guess: Callable[[Sequence[str], Grader], float | None] = lambda questions, grader: None


STRICT = {"standalone": True, "without_delimiter": "unparsable", "complete": True}
"""What every robust grader wants: an answer that stands alone after the delimiter, in a text that was not cut off."""


def last(found: Iterator[str]) -> str | None:
    """The last candidate; None if there is none."""
    answer = None
    for answer in found:  # noqa: B007
        pass
    return answer
