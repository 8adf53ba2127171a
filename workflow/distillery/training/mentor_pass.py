"""The soft_labels stage: a trained mentor reads the training rows once, and what it expects at each target is stored.

The mentor is not trained on the way, so its distributions are the same in every epoch, for every student, seed and
weight of the loss: reading them from a file gives the loss that a mentor beside the student gives.
"""

import functools
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from distillery.config.extensions import TEMPERATURES, SoftLabelForm
from distillery.disk_faults import free_bytes, nearest_folder
from distillery.errors import UserError
from distillery.files import atomic_open
from distillery.jobs.gpus import torch_device
from distillery.models.manifest import Manifest
from distillery.models.tokenization import Example, encode_rows, padding_tokenizer
from distillery.records import TrainingRow
from distillery.training.batches import tokens
from distillery.training.forward import logits_of, next_tokens
from distillery.training.losses import IGNORE
from distillery.training.soft_labels import SoftLabelWriter
from distillery.training.student import load_model
from distillery.training.units import row_collator

TOGETHER = 8
"""Rows that the mentor reads at once. They stay in their order, as the file has it."""
NO_LIMIT = 2**31

logger = logging.getLogger(__name__)


@dataclass
class Lost:
    """What a form loses of the mentor's distributions, for each temperature, summed over positions.

    `covered` is the mass of the k tokens, `lost` the KL divergence, in nats, from the whole distribution to what is
    known of it: the k tokens, and all others with equal shares of the rest.
    """

    form: SoftLabelForm
    positions: int = 0
    covered: list[float] = field(default_factory=lambda: [0.0] * len(TEMPERATURES))
    lowest: list[float] = field(default_factory=lambda: [1.0] * len(TEMPERATURES))
    lost: list[float] = field(default_factory=lambda: [0.0] * len(TEMPERATURES))

    def add(self, kept: Mapping[str, Tensor], vocabulary: int) -> None:
        """Count the positions of one more row: what the writer kept of them."""
        if self.form.form == "exact":
            self.positions += len(kept["logits"])
            self.covered = [float(self.positions)] * len(TEMPERATURES)
            return
        self.positions += len(kept["tokens"])
        others = vocabulary - kept["tokens"].shape[-1]
        for place, temperature in enumerate(TEMPERATURES):
            tail = kept["tails"][:, place].exp()
            whole = tail + (kept["logprobs"] / temperature).exp().sum(-1)
            mass = tail / whole
            entropy = kept["moments"][:, place] / temperature / whole - mass * whole.log()  # sum of p log p in the tail
            even = torch.where(mass > 0, mass * (mass / others).log(), torch.zeros_like(mass))
            self.covered[place] += float((1 - mass).double().sum())
            self.lowest[place] = min(self.lowest[place], float((1 - mass).min()))
            self.lost[place] += float((entropy - even).clamp(min=0).double().sum())

    def summary(self) -> dict[str, dict[str, float]]:
        """Temperature -> mean mass covered, the lowest of a position, and mean loss in nats."""
        return {
            f"{temperature:g}": {
                "mass_covered": round(self.covered[place] / self.positions, 6),
                "lowest_mass_covered": round(self.lowest[place], 6),
                "kl_to_full": round(self.lost[place] / self.positions, 6),
            }
            for place, temperature in enumerate(TEMPERATURES)
        }


def write_soft_labels(
    rows: Sequence[TrainingRow],
    folder: Path,
    mentor: Manifest,
    out: Path,
    *,
    form: SoftLabelForm,
    precision: Literal["fp32", "bf16"],
) -> dict[str, Any]:
    """Write the soft labels of training rows, whole or not at all.

    Args:
        rows: Prompts and targets, in the order of their file.
        folder: Prepared folder of the mentor; its tokenizer cuts the rows.
        mentor: Its manifest.
        out: The file to write.
        form: What is kept of each distribution.
        precision: As in the trainings that read the file: with `bf16` the mentor computes in bfloat16.

    Returns:
        Rows, target tokens, bytes, and what the form loses at each temperature; `seconds` and `tokens` for records.

    Raises:
        UserError: The rows cannot be tokenised exactly, there are fewer tokens than k, or the disk is too small.
    """
    assert mentor.architecture != "api"  # settings are checked: a mentor is trained here
    if form.form == "top-k" and int(form.k or 0) >= mentor.vocabulary.size:
        raise UserError(
            f"the mentor's vocabulary has {mentor.vocabulary.size} tokens, so none would be left for the tail",
            key="objective.k",
            value=form.k,
            remedy="Take fewer, or write `soft_labels: exact`",
        )
    tokenizer = padding_tokenizer(folder)
    examples = encode_rows(rows, tokenizer, architecture=mentor.architecture, max_length=NO_LIMIT)
    half = precision == "bf16"
    targets = sum(len(example.target_ids) for example in examples)
    _check_space(out, targets, mentor.vocabulary.size, form, half)
    device = torch.device(torch_device())
    model = load_model(folder, mentor.architecture, torch.bfloat16 if half else torch.float32)
    model = model.requires_grad_(False).eval().to(device)
    if model.config.vocab_size != mentor.vocabulary.size:
        raise UserError("config.json and manifest.json name vocabularies of other sizes", file=folder)
    read = functools.partial(
        _logits, model=model, collate=row_collator(mentor.architecture, tokenizer.pad_token_id), half=half
    )
    lost, started = Lost(form), time.monotonic()
    with atomic_open(out, "wb") as file, SoftLabelWriter(file, mentor, form, half=half, examples=examples) as writer:
        for start in tqdm(range(0, len(examples), TOGETHER), desc="soft labels", mininterval=2, file=sys.stderr):
            some = examples[start : start + TOGETHER]
            for logits in read(some).split([len(example.target_ids) for example in some]):
                lost.add(writer.add(logits), mentor.vocabulary.size)
    logger.info("%s: %d rows, %d positions, %.1f MB", out, len(examples), targets, out.stat().st_size / 1e6)
    return {
        "rows": len(examples),
        "target_tokens": targets,
        "bytes": out.stat().st_size,
        "vocabulary": mentor.vocabulary.size,
        **form.model_dump(mode="json"),
        "temperatures": lost.summary(),
        "tokens": sum(map(tokens, examples)),
        "seconds": time.monotonic() - started,
    }


@torch.no_grad()
def _logits(examples: Sequence[Example], *, model: Any, collate: Any, half: bool) -> Tensor:
    """The mentor's logits at all targets of some rows, (positions, vocabulary), rows in their order."""
    batch = collate([{"prompt_ids": example.prompt_ids, "target_ids": example.target_ids} for example in examples])
    inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
    labels = inputs.pop("labels")
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels=labels)
    else:
        labels = next_tokens(labels)
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=half):
        logits = logits_of(model, inputs, labels, everywhere=False)
    assert len(logits) == int((labels != IGNORE).sum())
    return logits


def _check_space(out: Path, targets: int, vocabulary: int, form: SoftLabelForm, half: bool) -> None:
    if form.form != "exact":
        return
    needed = targets * vocabulary * (2 if half else 4)
    free = free_bytes(nearest_folder(out.parent))
    if needed > 0.9 * free:
        raise UserError(
            f"the whole vocabulary at {targets} tokens takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free",
            file=out,
            key="objective.soft_labels",
            value="exact",
            remedy="Write `soft_labels: top-k` (about 0.6 kB a token), or `online`, which stores nothing",
        )
