"""Choices: a model that may only write one of a few texts, and how probable each of them was to it.

The store keeps a choice as the text of a completion, in one form for every backend:

>>> text = encode({"1": -2.5, "2": -0.1})
>>> text
'{"choice": "2", "logprobs": {"1": -2.5, "2": -0.1}}'
>>> decode(text, ("1", "2"))
Choice(choice='2', logprobs={'1': -2.5, '2': -0.1})

A server that does not keep to the constraint gives some other text, which is no choice:

>>> decode("I would say 2.", ("1", "2")) is None
True
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from distillery.canonical import canonical_json
from distillery.errors import UserError

DIGITS = 6


class Choice(NamedTuple):
    """The text that was chosen, and the log-probabilities of those that have one."""

    choice: str
    logprobs: dict[str, float]


def encode(logprobs: Mapping[str, float], choice: str | None = None) -> str:
    """The form in which a choice is stored.

    Args:
        logprobs: Of the texts; none where a server does not tell.
        choice: What was written; without it the most probable, and of equals the first.

    Raises:
        ValueError: There is neither.
    """
    known = {text: round(value, DIGITS) for text, value in logprobs.items() if math.isfinite(value)}
    if choice is None and not known:
        raise ValueError("not one of the choices has a log-probability")
    return canonical_json({"choice": choice or max(known, key=lambda text: known[text]), "logprobs": known})


def decode(text: str, choices: Sequence[str]) -> Choice | None:
    """The choice in a stored text; None for a text that is none of `choices`."""
    try:
        told = json.loads(text)
        found = Choice(told["choice"], {name: float(value) for name, value in told["logprobs"].items()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    known = set(choices)
    return found if found.choice in known and found.logprobs.keys() <= known else None


def single_tokens(encoded: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Text -> its only token.

    Raises:
        UserError: A text has several tokens, so that its probability is not known after one.
    """
    several = [text for text, ids in encoded.items() if len(ids) != 1]
    if several:
        raise UserError(
            f"the model's tokenizer cuts {', '.join(several)} into several tokens; a choice needs one for each",
            key="review.protocol",
            remedy="Take a review prompt without an answer_cue: the score is then read from the reply",
        )
    return {text: ids[0] for text, ids in encoded.items()}
