"""The scorer `similarity`: likeness of a line to the question.

The paper scores faithfulness with `facebook/roscoe-512-roberta-base`; ours is the static table inside the registry
package `wordllama`: equally weak evidence of correctness, but available without a model hub.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any


class Similarity:
    """(1 + cosine) / 2 to the most similar sentence of the question; the header `def solution():` is not scored."""

    def __init__(self) -> None:
        self._sentences = functools.lru_cache(maxsize=None)(self._embedded_sentences)

    def scores(
        self, questions: Sequence[str], prefixes: Sequence[str], lines: Sequence[str], finished: Sequence[bool]
    ) -> list[float]:
        from distillery.models.static_embeddings import embed

        if not lines:
            return []
        vectors = embed([line.strip() for line in lines])
        return [
            1.0
            if line.strip().startswith("def ") or not line.strip()
            else float((1 + (self._sentences(question) @ vector).max()) / 2)
            for question, line, vector in zip(questions, lines, vectors, strict=True)
        ]

    def _embedded_sentences(self, question: str) -> Any:
        """Vectors of the question's sentences, (sentences, width)."""
        from distillery.models.static_embeddings import embed

        return embed([sentence for sentence in re.split(r"(?<=[.?!])\s+", question) if sentence])
