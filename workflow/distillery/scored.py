"""Texts with their log-probability, as the store keeps them: one JSON object in the place of the text.

>>> decode(encode("    a = 5", -0.25))
('    a = 5', -0.25)
"""

import json

DIGITS = 5


def encode(text: str, log_probability: float) -> str:
    """A text and the sum of the log-probabilities of its tokens, in nats."""
    return json.dumps([text, round(log_probability, DIGITS)], ensure_ascii=False)


def decode(stored: str) -> tuple[str, float]:
    """What `encode` wrote."""
    text, log_probability = json.loads(stored)
    return text, log_probability
