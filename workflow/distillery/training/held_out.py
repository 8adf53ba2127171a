"""The held-out loss: how well a model predicts rows of questions that it was not trained on, while it is trained.

Which questions are held out depends on their names alone: recipes that are compared hold out the same questions.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import TrainerCallback

from distillery.errors import UserError
from distillery.hashing import draw_key
from distillery.models.tokenization import Example
from distillery.records import TrainingRow
from distillery.training.batches import CausalCollator, Seq2SeqCollator, tokens
from distillery.training.losses import IGNORE, cross_entropy_loss
from distillery.training.trainers import ObjectiveMixin

HELD_OUT_LOSS = "held_out_loss"


def hold_out(rows: Sequence[TrainingRow], share: float) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """Rows to train on, and rows held out: those of about `share` of the questions.

    Raises:
        UserError: One of the two would be empty.
    """
    if not share:
        return list(rows), []
    limit = int(share * 16**8)
    kept: list[TrainingRow] = []
    held: list[TrainingRow] = []
    for row in rows:
        (held if int(draw_key(0, "held out", row.qid)[:8], 16) < limit else kept).append(row)
    if not kept or not held:
        raise UserError(
            f"of {len(rows)} rows, {len(held)} would be held out",
            key="train.held_out",
            value=share,
            remedy="Choose another share, or more questions",
        )
    return kept, held


class HeldOutLoss(TrainerCallback):
    """Computes the mean cross-entropy of held-out rows, in nats per target token, before and during training.

    The losses are kept in the trainer's log history, so that checkpoints carry them. Training is not changed: no random
    number is used, and the time of the evaluation is not counted as training time.

    Args:
        examples: Held-out rows.
        batch_size: Rows of a pass.
        updates: Length of the training; `times` evaluations are spread over it evenly.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        collate: CausalCollator | Seq2SeqCollator,
        *,
        batch_size: int,
        updates: int,
        times: int,
    ) -> None:
        ordered = sorted(examples, key=tokens)
        self.batches = [ordered[at : at + batch_size] for at in range(0, len(ordered), batch_size)]
        self.collate = collate
        self.at = {round(number * updates / times) for number in range(1, times + 1)}
        self.trainer: ObjectiveMixin | None = None
        """Set after the trainer is built, as a trainer is built with its callbacks."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if state.global_step == 0:
            self._record(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if state.global_step in self.at:
            self._record(state)

    def _record(self, state: Any) -> None:
        assert self.trainer is not None
        started = time.monotonic()
        state.log_history.append({"step": state.global_step, HELD_OUT_LOSS: self.loss(self.trainer)})
        self.trainer.started += time.monotonic() - started

    def loss(self, trainer: ObjectiveMixin) -> float:
        """Nats per target token with the current weights; every process computes it over all rows."""
        model = trainer.accelerator.unwrap_model(trainer.model)
        training, device = model.training, trainer.args.device
        total, count = 0.0, 0
        model.eval()
        with torch.no_grad(), trainer.compute_loss_context_manager():
            for batch in self.batches:
                inputs = self.collate([{"prompt_ids": row.prompt_ids, "target_ids": row.target_ids} for row in batch])
                labels = trainer.aligned_labels(inputs.pop("labels").to(device))
                moved = {name: tensor.to(device) for name, tensor in inputs.items()}
                logits = trainer.logits(model, moved, labels, everywhere=False)
                total += float(cross_entropy_loss(logits, labels[labels != IGNORE], items=1))
                count += int((labels != IGNORE).sum())
        model.train(training)
        return total / count
