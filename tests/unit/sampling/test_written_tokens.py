"""The tokens that transformers wrote, read as a completion: where it ends, and what is counted."""

from types import SimpleNamespace

import pytest
import torch

from distillery.sampling.backends.base import PendingRequest
from distillery.sampling.backends.transformers import TransformersBackend
from distillery.sampling.logprobs import decode_scored
from distillery.sampling.requests import Request, Series

PAD, EOS = 0, 1
TOKENS = ["<pad>", "<eos>", "a", "b", "\n", "\n\n", ";c"]
"""A newline may come twice in one token, and a stop text with what follows it."""


def read(ids: list[int], stop: tuple[str, ...] = (), likely: list[float] | None = None):
    backend = TransformersBackend.__new__(TransformersBackend)
    backend._tokenizer = SimpleNamespace(
        eos_token_id=EOS, pad_token_id=PAD, decode=lambda ids, **_: "".join(TOKENS[token] for token in ids)
    )
    series = Series("m", 0.0, 1.0, 0, 9, stop=stop, scored=likely is not None)
    return backend._completion(
        PendingRequest("key", Request("p", 0), 1), torch.tensor([0, 1, 1]), torch.tensor(ids), series,
        None if likely is None else torch.tensor(likely),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ids", "stop", "text", "reason", "count"),
    [
        ([2, 3, EOS, PAD], (), "ab", "stop", 3),
        ([2, 3, PAD, EOS], (), "ab", "stop", 3),
        ([2, 3], (), "ab", "length", 2),
        ([EOS], (), "", "stop", 1),
        ([2, 5, PAD], ("\n",), "a", "stop", 2),
        ([2, 5], ("\n",), "a", "stop", 2),
        ([2, 4, 3, 6], (";", "\n"), "a", "stop", 4),
        ([2, 6], ("\n", ";"), "a", "stop", 2),
        ([2, 3], ("\n",), "ab", "length", 2),
    ],
)
def test_a_completion_ends_at_the_first_stop_text_or_stop_token(ids, stop, text, reason, count):
    found = read(ids, stop)
    assert (found.key, found.text, found.finish_reason) == ("key", text, reason)
    assert (found.prompt_tokens, found.completion_tokens) == (2, count)


@pytest.mark.parametrize(
    ("ids", "stop", "scored"),
    [
        ([2, 3, EOS, PAD], (), ("ab", -1.75, None)),
        ([2, 5, PAD, PAD], ("\n",), ("a", -1.5, "\n")),
        ([2, 6, PAD, PAD], (";",), ("a", -1.5, "c")),
        ([2, 3, 2, 3], (), ("abab", -9.75, None)),
    ],
)
def test_a_score_is_that_of_the_tokens_that_were_generated(ids, stop, scored):
    assert decode_scored(read(ids, stop, likely=[-1.0, -0.5, -0.25, -8.0]).text) == scored
