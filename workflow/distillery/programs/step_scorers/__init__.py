"""Scorers of a program's line in step-by-step verification, from 0 (bad) to 1 (good). Each is a module.

    none         every line is as good as any other: plain beam search
    similarity   likeness to the question's most similar sentence, by a small embedding table
    execution    does the program run so far?

Source: PaD specification, section 4.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from distillery.programs.step_scorers.execution import Runs
from distillery.programs.step_scorers.none import NoScorer
from distillery.programs.step_scorers.similarity import Similarity


class Scorer(Protocol):
    """Scores the last line of each prefix of a program, given its question; `finished`: no line follows it."""

    def scores(
        self, questions: Sequence[str], prefixes: Sequence[str], lines: Sequence[str], finished: Sequence[bool]
    ) -> list[float]: ...


STEP_SCORERS: dict[str, Callable[[], Scorer]] = {"similarity": Similarity, "execution": Runs, "none": NoScorer}
"""Name in recipes (`predict.steps.scorer`) -> scorer."""
