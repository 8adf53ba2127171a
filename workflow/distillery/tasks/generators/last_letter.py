"""Last Letter: join the last letters of some first names.

Take the last letter of each name in "Anna Tom Maya Felix" and join them.  ->  amax
Option `words`: names in a question (default 4, as in the papers).

Source: Kojima et al. 2022 (arXiv 2205.11916) by way of Fine-tune-CoT; names and wording are ours.
"""

from collections.abc import Mapping
from typing import Any

from distillery.tasks.generators.draw import Draw, Drawn, program_of, whole_number

OPTIONS = ("words",)


def check(options: Mapping[str, Any]) -> None:
    """Refuse bad values with an OptionError."""
    whole_number(options, "words", 4, 1, 8)


def generate(draw: Draw, options: Mapping[str, Any]) -> Drawn:
    """One question; see the head of this module."""
    names = draw.names(whole_number(options, "words", 4, 1, 8))
    letters = [name[-1] for name in names]
    gold = "".join(letters)
    steps = " ".join(f'The last letter of "{name}" is "{letter}".' for name, letter in zip(names, letters, strict=True))
    shown = " ".join(names)
    return Drawn(
        question=f'Take the last letter of each name in "{shown}" and join them.',
        gold=gold,
        rationale=f'{steps} Joined they are "{gold}".',
        identity=" ".join(sorted(names)),
        meta={"steps": len(names)},
        program=program_of(f"names = {shown!r}.split()", "result = ''.join(name[-1] for name in names)"),
    )
