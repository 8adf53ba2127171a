"""The summary of a training: updates, tokens, seconds, and the course of its losses."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from distillery.models.tokenization import Example
from distillery.training.batches import EpochOrder
from distillery.training.checkpoints import Checkpoint
from distillery.training.held_out import HELD_OUT_LOSS
from distillery.training.trainers import ObjectiveMixin
from distillery.training.units import Unit

HISTORY = 200
"""Points of the loss curve in a summary; longer curves are averaged over equal stretches."""


class TrainSummary(BaseModel):
    """What a training did. Tokens are counted as often as they were trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int
    epochs: float
    rows: int
    target_tokens: int
    """Target tokens, stop tokens included. With `two-task` of the tasks that have weight."""
    total_tokens: int
    """Those and the prompts; no padding."""
    seconds: float
    """Training time, over all tries, without loading and saving."""
    target_tokens_per_second: float
    final_loss: float
    """Mean of the last tenth of the steps, in nats per token."""
    loss_history: list[tuple[int, float]]
    """Last step of a stretch, and the mean loss over it."""
    held_out_rows: int
    held_out_tokens: int
    """Target tokens of these rows."""
    held_out_loss: list[tuple[int, float]]
    """Update, and mean loss on the rows held out, in nats per target token; empty where none are."""
    resumed_from: int | None
    """Step of the checkpoint that training continued from; None for a training that was not interrupted."""


def summarise(
    trainer: ObjectiveMixin,
    units: list[Unit],
    order: EpochOrder,
    seconds: float,
    resume: Checkpoint | None,
    held_out: Sequence[Example],
) -> TrainSummary:
    """What a finished training did."""
    steps = trainer.state.global_step
    seen = [units[index] for index in order.seen(steps)]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    target_tokens = sum(unit.target_tokens for unit in seen)
    tail = losses[-max(1, len(losses) // 10) :]
    return TrainSummary(
        steps=steps,
        epochs=round(steps / order.steps_per_epoch(), 4),
        rows=sum(len(unit.examples) for unit in units),
        target_tokens=target_tokens,
        total_tokens=sum(unit.tokens for unit in seen),
        seconds=round(seconds, 3),
        target_tokens_per_second=round(target_tokens / max(seconds, 1e-9), 1),
        final_loss=sum(tail) / len(tail),
        loss_history=_thinned(losses),
        held_out_rows=len(held_out),
        held_out_tokens=sum(len(example.target_ids) for example in held_out),
        held_out_loss=[
            (entry["step"], entry[HELD_OUT_LOSS]) for entry in trainer.state.log_history if HELD_OUT_LOSS in entry
        ],
        resumed_from=resume.step if resume else None,
    )


def _thinned(losses: list[float]) -> list[tuple[int, float]]:
    stretch = -(-len(losses) // HISTORY)
    parts = [losses[start : start + stretch] for start in range(0, len(losses), stretch)]
    return [(min((number + 1) * stretch, len(losses)), sum(part) / len(part)) for number, part in enumerate(parts)]
