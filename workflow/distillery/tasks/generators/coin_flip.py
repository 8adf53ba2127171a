"""Coin Flip: follow a coin through some people who flip it or do not.

A coin lies heads up. Anna flips the coin. Tom does not flip the coin. ... Is the coin still heads up?  ->  no
Option `people`: how many take their turn (default 4, as in the papers). Each flips with probability 1/2.

Source: Wei et al. 2022 and Kojima et al. 2022 (arXiv 2205.11916) by way of Fine-tune-CoT; names and wording are ours.
"""

from collections.abc import Mapping
from typing import Any

from distillery.tasks.generators.draw import Draw, Drawn, program_of, whole_number

OPTIONS = ("people",)
_SIDES = ("heads", "tails")


def check(options: Mapping[str, Any]) -> None:
    """Refuse bad values with an OptionError."""
    whole_number(options, "people", 4, 1, 8)


def generate(draw: Draw, options: Mapping[str, Any]) -> Drawn:
    """One question; see the head of this module."""
    names = draw.names(whole_number(options, "people", 4, 1, 8))
    flips = [draw.below(2) == 1 for _ in names]
    story, steps, turned = [], [], 0
    for name, flip in zip(names, flips, strict=True):
        turned += flip
        story.append(f"{name} {'flips' if flip else 'does not flip'} the coin.")
        steps.append(f"{name} {'flips it: ' if flip else 'does not: '}{_SIDES[turned % 2]} up.")
    heads = turned % 2 == 0
    end = "At the end it is still heads up." if heads else "At the end it is not heads up."
    return Drawn(
        question=f"A coin lies heads up. {' '.join(story)} Is the coin still heads up? "
        'To "flip" means to turn it over.',
        gold="yes" if heads else "no",
        rationale=f"The coin starts heads up. {' '.join(steps)} {end}",
        identity=" ".join(f"{name}{flip:d}" for name, flip in zip(names, flips, strict=True)),
        meta={"steps": len(names), "flips": turned},
        program=program_of(
            f"flips = {{{', '.join(f'{name!r}: {flip}' for name, flip in zip(names, flips, strict=True))}}}",
            "heads = sum(flips.values()) % 2 == 0",
            "result = 'yes' if heads else 'no'",
        ),
    )
