"""Answers that are a line of text."""

from collections.abc import Iterator

from distillery.config.task import Grader
from distillery.verification.graders.kind import Candidates, GraderKind


def _first_line(region: str) -> Iterator[str]:
    line = " ".join(region.strip().partition("\n")[0].split()).strip("\"'").rstrip(".")
    return iter((line,) if line else ())


def _whole(region: str) -> Iterator[str]:
    text = region.strip()
    return iter((text,) if text else ())


def _candidates(grader: Grader) -> Candidates:
    return _first_line if grader.standalone else _whole


KIND = GraderKind(_candidates, noun=lambda grader: "text", robust={"compare": "casefold"})
