"""Tracking Shuffled Objects: three people swap what they have; who ends up with what? Multiple choice A to C.

Anna, Tom and Maya trade hats. ... First, Anna and Maya swap hats. ... At the end, Tom has which hat?  ->  B
Option `swaps`: how many pairs swap (default 3, as in BIG-bench). The options are the objects in the order of mention.

Source: BIG-bench, tracking_shuffled_objects, by way of Fine-tune-CoT section 2; stories, names and wording are ours.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from distillery.tasks.generators.draw import Draw, Drawn, program_of, whole_number

OPTIONS = ("swaps",)
_ORDER = {1: ("First",), 2: ("First", "Finally")}


class _Frame(NamedTuple):
    """A story: people have `kinds` of a `noun`; `opening`, `swap` and `ending` tell it."""

    name: str
    noun: str
    kinds: tuple[str, ...]
    opening: str
    swap: str


_COLOURS = ("red", "blue", "green", "yellow", "black", "white", "orange", "purple", "brown", "pink")
_FRAMES = (
    _Frame("hats", "hat", _COLOURS, "{people} try on hats in a shop", "swap hats"),
    _Frame("marbles", "marble", _COLOURS, "{people} sit in a circle, each with a marble", "trade marbles"),
    _Frame(
        "parcels",
        "parcel",
        ("round", "square", "long", "flat", "heavy", "light", "tiny", "huge"),
        "{people} bring parcels to a party",
        "exchange parcels",
    ),
    _Frame(
        "books",
        "book",
        ("history", "music", "garden", "travel", "chess", "poetry", "cooking", "physics"),
        "{people} meet in a reading club, each with a book",
        "swap books",
    ),
    _Frame(
        "seats",
        "seat",
        ("front", "middle", "back", "window", "corner", "aisle"),
        "{people} travel on a bus, each on a seat",
        "change seats",
    ),
)


def check(options: Mapping[str, Any]) -> None:
    """Refuse bad values with an OptionError."""
    whole_number(options, "swaps", 3, 1, 6)


def generate(draw: Draw, options: Mapping[str, Any]) -> Drawn:
    """One question; see the head of this module."""
    frame = draw.choice(_FRAMES)
    names = draw.names(3)
    kinds = draw.sample(frame.kinds, 3)
    swaps = [tuple(sorted(draw.sample(range(3), 2))) for _ in range(whole_number(options, "swaps", 3, 1, 6))]
    asked = draw.below(3)

    has = list(range(3))
    order = _ORDER.get(len(swaps), ("First", *["Then"] * (len(swaps) - 2), "Finally"))
    story, steps = [], []
    for word, (one, other) in zip(order, swaps, strict=True):
        has[one], has[other] = has[other], has[one]
        story.append(f"{word}, {names[one]} and {names[other]} {frame.swap}.")
        now = [f"{names[who]} has {kinds[has[who]]}" for who in range(3)]
        steps.append(f"After {names[one]} and {names[other]}: {', '.join(now)}.")
    gold = "ABC"[has[asked]]

    people = f"{names[0]}, {names[1]} and {names[2]}"
    start = ", ".join(f"{name} has the {kind} {frame.noun}" for name, kind in zip(names, kinds, strict=True))
    choices = ", ".join(f"({letter}) {kind} {frame.noun}" for letter, kind in zip("ABC", kinds, strict=True))
    opening = frame.opening.format(people=people)
    return Drawn(
        question=f"{opening}: {start}. {' '.join(story)} At the end, which {frame.noun} does {names[asked]} have? "
        f"Answer choices: {choices}.",
        gold=gold,
        rationale=f"At the start: {', '.join(f'{name} has {kind}' for name, kind in zip(names, kinds, strict=True))}. "
        f"{' '.join(steps)} So {names[asked]} has the {kinds[has[asked]]} {frame.noun}, which is ({gold}).",
        identity=f"{frame.name} {kinds} {swaps}",  # three people can be asked in one story: all stay in one pool
        meta={"template": frame.name, "steps": len(swaps)},
        program=program_of(
            f"has = {{{', '.join(f'{name!r}: {kind!r}' for name, kind in zip(names, kinds, strict=True))}}}",
            *(
                f"has[{names[giver]!r}], has[{names[taker]!r}] = has[{names[taker]!r}], has[{names[giver]!r}]"
                for giver, taker in swaps
            ),
            f"choices = {{{', '.join(f'{kind!r}: {letter!r}' for letter, kind in zip('ABC', kinds, strict=True))}}}",
            f"result = choices[has[{names[asked]!r}]]",
        ),
    )
