"""Batches: which rows form which update, and how rows become padded tensors.

The order is a pure function of seed and epoch, so that a resumed run sees the same batches as an undisturbed run. Rows
of similar length share a batch: with whole-set padding, as in the papers' code, only 14-58 % of the positions are real
tokens.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler

from distillery.models.tokenization import Example
from distillery.training.losses import IGNORE

WINDOW = 16
"""Most batches that are sorted by length together. Small sets have at least four windows, else every epoch would
consist of the same batches."""


class EpochOrder(Sampler[int]):
    """Indices of one epoch, grouped by length in windows of shuffled rows; batches come in random order.

    Each row comes once per epoch. The batch that is not full comes last, as batching cuts the list in equal parts.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = list(lengths), batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(self.epoch))

    def order(self, epoch: int) -> list[int]:
        """The indices of any epoch."""
        chance = random.Random(f"{self.seed}:{epoch}")
        indices = list(range(len(self.lengths)))
        chance.shuffle(indices)
        size = self.batch_size * max(1, min(WINDOW, len(indices) // (4 * self.batch_size)))
        batches, rest = [], []
        for start in range(0, len(indices), size):
            window = sorted(indices[start : start + size], key=lambda index: self.lengths[index])
            spare = len(window) % self.batch_size  # only the last window has one; its shortest rows come at the end
            batches += [window[at : at + self.batch_size] for at in range(spare, len(window), self.batch_size)]
            rest = window[:spare]
        chance.shuffle(batches)
        return [index for batch in [*batches, rest] for index in batch]

    def steps_per_epoch(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def seen(self, steps: int) -> Iterator[int]:
        """The index of every row of the first `steps` updates, with repetitions, in order."""
        for epoch in range(-(-steps // self.steps_per_epoch())):
            updates = min(steps - epoch * self.steps_per_epoch(), self.steps_per_epoch())
            yield from islice(self.order(epoch), updates * self.batch_size)


class ProcessPasses(Sampler[list[int]]):
    """The passes of one of several processes that train together: its share of each batch of an epoch, in order.

    A batch is divided evenly, also the last of an epoch, which may not be full: no row is left out and none comes
    twice. Processes average their gradients after the last pass of a batch, so all make equally many; a process that
    has too few rows makes empty passes (`collate_pass`).

    Args:
        rows: Most rows of a pass.
        process: Number of this process, from 0.
    """

    def __init__(self, order: EpochOrder, rows: int, process: int = 0, processes: int = 1) -> None:
        self.order, self.rows, self.process, self.processes = order, rows, process, processes

    def __len__(self) -> int:
        full, rest = divmod(len(self.order), self.order.batch_size)
        return full * self._passes(self.order.batch_size) + self._passes(rest)

    def __iter__(self) -> Iterator[list[int]]:
        indices = iter(self.order)
        while batch := list(islice(indices, self.order.batch_size)):
            first, after = (len(batch) * number // self.processes for number in (self.process, self.process + 1))
            share = batch[first:after]
            for place in range(self._passes(len(batch))):
                yield share[place * self.rows : (place + 1) * self.rows]

    def _passes(self, batch: int) -> int:
        largest_share = -(-batch // self.processes)
        return -(-largest_share // self.rows)


def collate_pass(features: list[dict[str, Any]], collate: Callable[[list[dict[str, Any]]], Any]) -> dict[str, Tensor]:
    """The tensors of a pass; an empty pass is one token without loss, since a model needs some input."""
    if features:
        return dict(collate(features))
    token = torch.zeros((1, 1), dtype=torch.int64)
    return {
        "input_ids": token,
        "attention_mask": torch.ones_like(token),
        "labels": torch.full_like(token, IGNORE),
        "feedback": torch.zeros(1, dtype=torch.bool),
    }


class CausalCollator:
    """Prompt and target in one sequence, padded on the right.

    Returns `input_ids`, `attention_mask` and `labels`, each (batch, tokens). Each label is at its own token, not
    shifted; IGNORE on prompt and padding. Padding may be the stop token (SmolLM2): labels are set by place, never by
    comparing ids, so the real stop token keeps its loss.

    Args:
        width: Pad to this many tokens at least (the published code pads the whole set to its longest row).
        mask_padding: False makes padding a part of the target, as MAPD's public code does: it is attended to and
            carries loss. Then `pad_id` is to be the stop token.
    """

    def __init__(self, pad_id: int, width: int = 0, *, mask_padding: bool = True) -> None:
        self.pad_id, self.width, self.mask_padding = pad_id, width, mask_padding

    def __call__(self, features: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        ids = [feature["prompt_ids"] + feature["target_ids"] for feature in features]
        labels = [[IGNORE] * len(feature["prompt_ids"]) + feature["target_ids"] for feature in features]
        attended, label = (0, IGNORE) if self.mask_padding else (1, self.pad_id)
        return {
            "input_ids": _pad(ids, self.pad_id, self.width),
            "attention_mask": _pad([[1] * len(row) for row in ids], attended, self.width),
            "labels": _pad(labels, label, self.width),
        }


class Seq2SeqCollator:
    """Prompt to the encoder, target to the decoder, each padded on the right.

    Returns `input_ids` and `attention_mask` (batch, prompt tokens), and `labels` (batch, target tokens).
    """

    def __init__(self, pad_id: int, width: int = 0) -> None:
        self.pad_id, self.width = pad_id, width

    def __call__(self, features: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        prompts = [feature["prompt_ids"] for feature in features]
        return {
            "input_ids": _pad(prompts, self.pad_id),
            "attention_mask": _pad([[1] * len(row) for row in prompts], 0),
            "labels": _pad([feature["target_ids"] for feature in features], IGNORE, self.width),
        }


class PairCollator:
    """The rows of pairs in one batch, so that both tasks of a pair take part in the same update.

    A feature is a pair: `feedback` (bool), `prompt_ids` and `target_ids`, each a list over its rows. Returns what
    `collate` makes of all rows, and `feedback` (rows,), bool.
    """

    def __init__(self, collate: CausalCollator | Seq2SeqCollator) -> None:
        self.collate = collate

    def __call__(self, features: list[dict[str, list]]) -> dict[str, Tensor]:
        rows = [
            {"prompt_ids": prompt, "target_ids": target}
            for pair in features
            for prompt, target in zip(pair["prompt_ids"], pair["target_ids"], strict=True)
        ]
        feedback = [task for pair in features for task in pair["feedback"]]
        return {**self.collate(rows), "feedback": torch.tensor(feedback, dtype=torch.bool)}


def tokens(example: Example) -> int:
    """Length of a row: prompt, target and stop token."""
    return len(example.prompt_ids) + len(example.target_ids)


def _pad(rows: list[list[int]], value: int, width: int = 0) -> Tensor:
    width = max(width, *map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows], dtype=torch.int64)
