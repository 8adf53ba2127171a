"""Scorers of a program's line in step-by-step verification: one interface, from 0 (bad) to 1 (good).

    none         every line is as good as any other: plain beam search
    similarity   likeness to the question's most similar sentence, by a small embedding table
    execution    does the program run so far, with no name undefined?

Source: PaD specification, section 4. The paper scores faithfulness with `facebook/roscoe-512-roberta-base`; ours is the
static table inside the registry package `wordllama`: as weak as evidence of correctness, and there without a model hub.
"""

import functools
import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from distillery.models.static_embeddings import embed
from distillery.programs.execution import RunOutcome
from distillery.programs.run import run_programs

FAILED = 0.01
"""Score of a line after which the program does not run: its logarithm must exist."""


class Scorer(Protocol):
    """Scores the last line of each prefix of a program, given its question."""

    def scores(self, questions: Sequence[str], prefixes: Sequence[str], lines: Sequence[str]) -> list[float]: ...


def scorer_named(name: str) -> Scorer:
    """The scorer of a recipe's `predict.steps.scorer`."""
    scorers: dict[str, type[Scorer]] = {"none": NoScorer, "similarity": Similarity, "execution": Runs}
    return scorers[name]()


class NoScorer:
    """Leaves the order to the model."""

    def scores(self, questions: Sequence[str], prefixes: Sequence[str], lines: Sequence[str]) -> list[float]:
        return [1.0] * len(lines)


class Similarity:
    """(1 + cosine) / 2 to the most similar sentence of the question; the header `def solution():` is not scored."""

    def __init__(self) -> None:
        self._sentences = functools.lru_cache(maxsize=None)(self._embedded_sentences)

    def scores(self, questions: Sequence[str], prefixes: Sequence[str], lines: Sequence[str]) -> list[float]:
        if not lines:
            return []
        vectors = embed([line.strip() for line in lines])
        return [
            1.0
            if line.strip().startswith("def ") or not line.strip()
            else float((1 + (self._sentences(question) @ vector).max()) / 2)
            for question, line, vector in zip(questions, lines, vectors, strict=True)
        ]

    def _embedded_sentences(self, question: str) -> np.ndarray:
        return embed([one for one in re.split(r"(?<=[.?!])\s+", question) if one])


class Runs:
    """1 if the program runs so far, else nearly 0; a line that opens a block is completed to run."""

    def scores(self, questions: Sequence[str], prefixes: Sequence[str], lines: Sequence[str]) -> list[float]:
        runs, _ = run_programs([so_far(prefix, line) for prefix, line in zip(prefixes, lines, strict=True)])
        return [1.0 if run.outcome in (RunOutcome.OK, RunOutcome.WRONG_TYPE) else FAILED for run in runs]


def so_far(prefix: str, line: str) -> str:
    """A program that ends after `line` and returns: what runs, runs; what is wrong so far, raises."""
    text = (prefix + line).rstrip()
    indent = len(line) - len(line.lstrip())
    if text.endswith(":"):
        body = " " * (indent + 4)
        return f"{text}\n{body}pass\n    return 0" if indent else f"{text}\n{body}return 0"
    return text if line.strip().startswith("return") and indent <= 4 else f"{text}\n    return 0"
