"""Requests: one model call that gives one completion, and the key under which it is kept.

    series = model identity + decoding                   one folder of the store
    key    = series + prompt + special tokens + index    one completion

The key holds what shapes the text. Batch size, device, backend, host, paths and the name of the run are not part of it,
so a model gets each request once, from any experiment. The sampling seed is derived from the key: the first k samples
of a question are the same for every number of samples, on every machine that computes alike.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from distillery.hashing import digest_of
from distillery.sampling.logprobs import SCORED_FORMAT

STORE_FORMAT = 1
"""Raised when the meaning of a key changes: old completions are then not found, and generated again."""


@dataclass(frozen=True)
class Series:
    """All that requests to one model with one way of decoding have in common.

    Args:
        model: Identity of the weights, from the model's manifest (`Manifest.identity`).
        temperature: 0 is greedy; then `top_p`, `top_k` and `seed` change nothing and are left out of the key.
        stop: Texts that end a completion; they are not part of it.
        scored: What comes back is the text with its log-probability and tail (`distillery.sampling.logprobs`).
        choice: The only texts that the model may write, if not empty; what comes back is a choice with its
            log-probabilities (`distillery.sampling.logprobs`).
    """

    model: str
    temperature: float
    top_p: float
    top_k: int
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    seed: int = 0
    scored: bool = False
    choice: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        model: str,
        decoding: Mapping[str, Any],
        stop: list[str],
        choice: tuple[str, ...] = (),
        *,
        scored: bool = False,
    ) -> "Series":
        """The series of a model and a sampler's decoding section."""
        greedy = decoding["temperature"] == 0
        return cls(
            model=model,
            temperature=float(decoding["temperature"]),
            top_p=1.0 if greedy else float(decoding["top_p"]),
            top_k=0 if greedy else int(decoding["top_k"]),
            max_new_tokens=int(decoding["max_new_tokens"]),
            stop=tuple(stop),
            seed=0 if greedy else int(decoding["seed"]),
            scored=scored,
            choice=choice,
        )

    def describe(self) -> dict[str, Any]:
        """The series as plain values: what the store writes beside its completions, for people.

        A free text has neither `choice` nor `scored`: completions from before there were these keep their keys.
        """
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("choice", "scored"):
            if not values[name]:
                del values[name]
        if self.scored:
            values["scored"] = SCORED_FORMAT
        return {"format": STORE_FORMAT, **values}

    @cached_property
    def digest(self) -> str:
        """Hex digest, 32 digits."""
        return digest_of(self.describe())


@dataclass(frozen=True, slots=True)
class Request:
    """One call: a rendered prompt and which of its samples is wanted.

    `special_tokens` asks the tokenizer to add its own (BOS); a chat template has written them already. `written` is
    what an encoder-decoder has written of its answer: its decoder continues after it. A causal model's is in the
    prompt.
    """

    prompt: str
    sample_index: int
    special_tokens: bool = True
    written: str = ""

    @property
    def model_input(self) -> str:
        """What the model reads, as the store keeps it: a key follows from this text alone."""
        return f"{self.prompt}\0{self.written}" if self.written else self.prompt

    def key(self, series: Series) -> str:
        """Hex digest, 32 digits: the completion's name in the store."""
        identity = f"{series.digest}\0{int(self.special_tokens)}\0{self.sample_index}\0{self.model_input}"
        return hashlib.sha256(identity.encode()).hexdigest()[:32]


def seed_of(key: str) -> int:
    """Sampling seed of a request, from its key: 31 bits, which every backend takes."""
    return int(key[:8], 16) & 0x7FFFFFFF
