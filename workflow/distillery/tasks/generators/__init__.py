"""Seeded question generators: an endless list of questions for each pool, of which a task takes the first n.

The n-th question depends on seed, pool, options and the questions before it, never on how many are requested: a larger
training set begins with the smaller one. Pools share no question by construction, since a question's *identity* (what
makes it this question: its numbers, its swaps; not its wording) is hashed to one pool:

    identity ──sha256──► 0 ........ 39 | 40 ..... 54 | 55 ..... 64 | 65 ........ 99
                             train     |     dev     |  exemplar   |      test

Test questions moreover use names of their own, and arithmetic ones some wordings of their own.
"""

import hashlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, cast

from distillery.tasks.generators import arithmetic, coin_flip, dates, last_letter, shuffled_objects
from distillery.tasks.generators.draw import Draw, Drawn, OptionError, Pool

GENERATORS: dict[str, ModuleType] = {
    "arithmetic": arithmetic,
    "last_letter": last_letter,
    "coin_flip": coin_flip,
    "shuffled_objects": shuffled_objects,
    "dates": dates,
}
"""Each has OPTIONS (names), check(options), and generate(draw, options) -> Drawn, or None if the draw does not fit."""

_RETRIES = 3000
"""The rarest template (a division in the exemplar pool) needs about 100 draws; an exhausted pool never ends."""


class UsedUp(ValueError):
    """A pool has no more different questions. `count` says how many it has."""

    def __init__(self, count: int) -> None:
        super().__init__(f"only {count} different questions")
        self.count = count


def check_options(generator: str, options: Mapping[str, Any]) -> None:
    """Refuse options that the generator does not know, or whose value it cannot use.

    Raises:
        OptionError: Names the option and what would do.
    """
    module = GENERATORS[generator]
    for key, value in options.items():
        if key not in module.OPTIONS:
            raise OptionError("no such option", key=key, value=value, remedy=f"There are {', '.join(module.OPTIONS)}")
    module.check(options)


def draw_questions(generator: str, seed: str, pool: Pool, count: int, options: Mapping[str, Any]) -> list[Drawn]:
    """The first `count` questions of a pool, all different.

    Raises:
        UsedUp: There are fewer.
    """
    generate = cast(Callable[[Draw, Mapping[str, Any]], Drawn | None], GENERATORS[generator].generate)
    questions: list[Drawn] = []
    seen: set[str] = set()
    for turn in range(count):
        for retry in range(_RETRIES):
            drawn = generate(Draw(turn, retry, seed=seed, pool=pool, turn=turn), options)
            if drawn is not None and drawn.question not in seen and pool_of(drawn.identity) == pool:
                break
        else:
            raise UsedUp(len(questions))
        questions.append(drawn)
        seen.add(drawn.question)
    return questions


def pool_of(identity: str) -> Pool:
    """The only pool that a question may be in."""
    place = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8]) % 100
    return "train" if place < 40 else "dev" if place < 55 else "exemplar" if place < 65 else "test"
