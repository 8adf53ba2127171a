"""Texts with their log-probability, as the store keeps them: one JSON object in the place of the text.

A token may reach beyond the stop text: a newline and the indentation behind it are often one. What it wrote there is
kept as the `tail`, so that a search can go on from the very tokens that the model wrote; it is None where no stop text
ended the writing. Prefixes cut at the newline had other tokens than in training at five lines of six (SmolLM2).

>>> decode(encode("    a = 5", -0.25, tail="   "))
Scored(text='    a = 5', log_probability=-0.25, tail='   ')
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

DIGITS = 5
FORMAT = 2
"""Part of the key of scored requests; 1 had no tail."""


class Scored(NamedTuple):
    """`log_probability`: sum over the tokens, those of the stop text and the tail included, in nats."""

    text: str
    log_probability: float
    tail: str | None


def encode(text: str, log_probability: float, tail: str | None) -> str:
    """A text, the sum of the log-probabilities of its tokens, and what stands behind the stop text."""
    return json.dumps([text, round(log_probability, DIGITS), tail], ensure_ascii=False)


def decode(stored: str) -> Scored:
    """What `encode` wrote."""
    return Scored(*json.loads(stored))


def tail_of(written: str, text: str, stops: Sequence[str]) -> str | None:
    """What follows the stop text in all that was written, of which `text` is the part before it; None without one."""
    behind = written[len(text) :]
    return next((behind[len(stop) :] for stop in stops if written.startswith(text) and behind.startswith(stop)), None)
