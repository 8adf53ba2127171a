"""Log-probabilities beside texts, as the store keeps them: in the place of the text, in one form for every backend.

A choice is made where a model may only write one of a few texts. It is kept with the log-probability of each of them:

>>> text = encode_choice({"1": -2.5, "2": -0.1})
>>> text
'{"choice": "2", "logprobs": {"1": -2.5, "2": -0.1}}'
>>> decode_choice(text, ("1", "2"))
Choice(choice='2', logprobs={'1': -2.5, '2': -0.1})

A server that does not keep to the constraint gives some other text, which is no choice:

>>> decode_choice("I would say 2.", ("1", "2")) is None
True

Texts with their log-probability, as the store keeps them: one JSON object in the place of the text.

A token may reach beyond the stop text: a newline and the indentation behind it are often one token. The rest of it is
kept as the `tail`, so that a search can continue from the same tokens that the model wrote. The tail is None if no stop
text ended the completion. Prefixes cut at the newline had other tokens than in training at five lines of six (SmolLM2).

>>> decode_scored(encode_scored("    a = 5", -0.25, tail="   "))
Scored(text='    a = 5', log_probability=-0.25, tail='   ')
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from distillery.errors import UserError
from distillery.hashing import canonical_json

CHOICE_DIGITS = 6
SCORED_DIGITS = 5
SCORED_FORMAT = 2
"""Part of the key of scored requests; 1 had no tail."""


class Choice(NamedTuple):
    """The text that was chosen, and the log-probabilities of those that have one."""

    choice: str
    logprobs: dict[str, float]


def encode_choice(logprobs: Mapping[str, float], choice: str | None = None) -> str:
    """The form in which a choice is stored.

    Args:
        logprobs: Of the texts; empty where a server does not report them.
        choice: What was written; without it the most probable, and of equals the first.

    Raises:
        ValueError: There is neither.
    """
    known = {text: round(value, CHOICE_DIGITS) for text, value in logprobs.items() if math.isfinite(value)}
    if choice is None and not known:
        raise ValueError("not one of the choices has a log-probability")
    return canonical_json({"choice": choice or max(known, key=lambda text: known[text]), "logprobs": known})


def decode_choice(text: str, choices: Sequence[str]) -> Choice | None:
    """The choice in a stored text; None for a text that is none of `choices`."""
    try:
        stored = json.loads(text)
        found = Choice(stored["choice"], {name: float(value) for name, value in stored["logprobs"].items()})
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


class Scored(NamedTuple):
    """`log_probability`: sum over the tokens, those of the stop text and the tail included, in nats."""

    text: str
    log_probability: float
    tail: str | None


def encode_scored(text: str, log_probability: float, tail: str | None) -> str:
    """A text, the sum of the log-probabilities of its tokens, and what follows the stop text."""
    return json.dumps([text, round(log_probability, SCORED_DIGITS), tail], ensure_ascii=False)


def decode_scored(stored: str) -> Scored:
    """What `encode_scored` wrote."""
    return Scored(*json.loads(stored))


def tail_of(written: str, text: str, stops: Sequence[str]) -> str | None:
    """What follows the stop text in all that was written, of which `text` is the part before it; None without one."""
    behind = written[len(text) :]
    return next((behind[len(stop) :] for stop in stops if written.startswith(text) and behind.startswith(stop)), None)
