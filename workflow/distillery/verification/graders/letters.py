"""Answers that are a word put together from letters, such as the last letters of names."""

import re
from collections.abc import Iterator

from distillery.config.task import Grader
from distillery.verification.graders.kind import Candidates, GraderKind

_REMOVED = re.compile(r"[\"'.\s]+")
_WORD = re.compile(r"[^\W\d_]+")


def _words(region: str) -> Iterator[str]:
    return (found[0] for found in _WORD.finditer(region))


def _joined(region: str) -> Iterator[str]:
    word = _REMOVED.sub("", region)
    return iter((word,) if word else ())


def _candidates(grader: Grader) -> Candidates:
    return _words if grader.standalone else _joined


KIND = GraderKind(
    _candidates,
    noun=lambda grader: "word",
    # Fine-tune-CoT minds the case; for Mentor-KD's rule a task file sets `compare: casefold`.
    robust={"choose": "last", "compare": "casefold"},
    guess=lambda questions, grader: 0.0,
)
