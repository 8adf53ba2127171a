"""Answers that are yes or no."""

import re
from collections.abc import Iterator

from distillery.config.task import Grader
from distillery.verification.graders.kind import Candidates, GraderKind

_YES_NO = re.compile(r"(?<![\w'-])(?:yes|no)(?![\w'-])")
_BLANKS = str.maketrans(dict.fromkeys("\"'\n.:,", " "))


def _standalone(region: str) -> Iterator[str]:
    return (found[0] for found in _YES_NO.finditer(region.lower()))


def _tokens(region: str) -> Iterator[str]:
    return (token for token in region.lower().translate(_BLANKS).split() if token in {"yes", "no"})


def _candidates(grader: Grader) -> Candidates:
    return _standalone if grader.standalone else _tokens


KIND = GraderKind(
    _candidates,
    noun=lambda grader: "yes or no",
    paper={"compare": "casefold"},
    robust={"compare": "casefold"},
    guess=lambda questions, grader: 0.5,
)
