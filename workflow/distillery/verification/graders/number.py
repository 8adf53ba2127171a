"""Answers that are numbers, in digits: `18`, `-3`, `1,200`, `$3.50`."""

import re
from collections.abc import Iterator

from distillery.config.task import Grader
from distillery.verification.graders.kind import Candidates, GraderKind

_ANY_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
# A minus after a word, a number or a bracket subtracts; commas only part thousands; "v1" and "1.2.3" are no numbers.
_NUMBER = re.compile(
    r"(?:(?<![\w)\]])[-\u2212]\$?)?(?<![\w.])(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
)
_NUMBER_FORM = str.maketrans({"\u2212": "-", ",": None, "$": None})


def standalone_numbers(region: str) -> Iterator[str]:
    """Numbers that stand alone, without commas and currency signs."""
    return (found[0].translate(_NUMBER_FORM) for found in _NUMBER.finditer(region))


def _any_numbers(region: str) -> Iterator[str]:
    return (found[0] for found in _ANY_NUMBER.finditer(region.replace(",", "")))


def _candidates(grader: Grader) -> Candidates:
    return standalone_numbers if grader.standalone else _any_numbers


KIND = GraderKind(
    _candidates,
    noun=lambda grader: "number",
    # Strings, as MultiArith, GSM8K and ASDiv; a task file for SingleEq, AddSub or SVAMP sets `compare: number`.
    paper={"compare": "string"},
    robust={"compare": "number"},
    gold=lambda gold: gold.replace(",", "").strip(),
    numeric=True,
    guess=lambda questions, grader: 0.0,
)
