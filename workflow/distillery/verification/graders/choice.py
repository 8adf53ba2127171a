"""Answers that are one letter of a choice: `(B)`."""

import re
from collections.abc import Sequence
from statistics import fmean

from distillery.config.task import Grader
from distillery.verification.graders.kind import Candidates, GraderKind

_OPTION = re.compile(r"\(([A-Z])\)|^([A-Z])\. ", re.MULTILINE)


def _candidates(grader: Grader) -> Candidates:
    pattern = f"[{grader.letters}]"
    if grader.standalone:
        # "A ball" and "I think" are words of a sentence, "A is right" is a choice.
        article = r"(?!(?<=[AI])\s+(?!(?:is|was)\b)[a-z])"
        pattern = rf"(?<![\w'])[{grader.letters}](?![\w']){article}"
    compiled = re.compile(pattern)
    return lambda region: (found[0] for found in compiled.finditer(region))


def _guess(questions: Sequence[str], grader: Grader) -> float:
    """1 / mean number of options, as Fine-tune-CoT counts it (section 1.7).

    Options are read from the question text, `(A) ...` or a line `A. ...`; where there are none, the range of letters of
    the grader counts.
    """
    low, _, high = grader.letters.partition("-")
    every = ord(high) - ord(low) + 1
    counts = [len({a or b for a, b in _OPTION.findall(question)}) or every for question in questions]
    return 1 / fmean(counts) if counts else 1 / every


KIND = GraderKind(_candidates, noun=lambda grader: f"choice {grader.letters}", guess=_guess)
