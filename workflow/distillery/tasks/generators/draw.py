"""What every generator works with: reproducible draws, and the question that comes out."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from distillery.tasks.generators.names import TEST_NAMES, TRAIN_NAMES

Pool = Literal["train", "dev", "exemplar", "test"]
T = TypeVar("T")


class OptionError(ValueError):
    """An option of a generator is unknown or has a bad value. `key` names it, `remedy` says what would do."""

    def __init__(self, problem: str, *, key: str, value: object, remedy: str) -> None:
        super().__init__(problem)
        self.problem, self.key, self.value, self.remedy = problem, key, value, remedy


@dataclass(frozen=True)
class Drawn:
    """A generated question."""

    question: str
    gold: str
    rationale: str
    identity: str
    """What makes it this question in any wording: decides its pool."""
    meta: dict[str, Any] = field(default_factory=dict)
    program: str | None = None
    """The worked solution as a Python program: `solution()` without arguments returns the gold answer."""


def program_of(*lines: str) -> str:
    """A program `solution()` of these lines; the last one assigns `result`."""
    return "\n".join(["def solution():", *(f"    {line}" for line in (*lines, "return result"))])


class Draw:
    """Random choices for the question number `turn` of a pool; they depend on seed, pool and key alone.

    Only `random.random()` is used: Python promises its sequence for all versions, but not that of `choice` or `sample`.
    """

    def __init__(self, *key: object, seed: str, pool: Pool, turn: int) -> None:
        self.seed, self.pool, self.turn = seed, pool, turn
        self._random = random.Random(":".join(map(str, (seed, pool, *key)))).random

    def below(self, limit: int) -> int:
        """A whole number in 0 .. limit - 1."""
        return int(self._random() * limit)

    def between(self, low: int, high: int) -> int:
        """A whole number in low .. high."""
        return low + self.below(high - low + 1)

    def choice(self, items: Sequence[T]) -> T:
        """One of `items`."""
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """`count` different ones of `items`, in random order."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(count)]

    def names(self, count: int) -> list[str]:
        """Different first names; those of the test pool stand in no other."""
        return self.sample(TEST_NAMES if self.pool == "test" else TRAIN_NAMES, count)


def whole_number(options: Mapping[str, Any], key: str, default: int, low: int, high: int) -> int:
    """The value of an option that is a whole number in low .. high.

    Raises:
        OptionError: It is something else.
    """
    value = options.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise OptionError("not a whole number in range", key=key, value=value, remedy=f"Use one of {low} to {high}")
    return value
