"""Trainers: TRL's SFTTrainer and transformers' Seq2SeqTrainer with our objectives, order, decay and checkpoints.

Both share one mixin; they differ only in how logits are aligned with labels.
"""

import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.data_loader import prepare_data_loader
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import PreTrainedModel, Seq2SeqTrainer, TrainerCallback
from trl import SFTTrainer

from distillery.config.extensions import Objective
from distillery.training.batches import EpochOrder, ProcessPasses, collate_pass
from distillery.training.checkpoints import seal, writing_folder
from distillery.training.forward import logits_of, next_tokens
from distillery.training.losses import IGNORE
from distillery.training.objectives.batch import Batch
from distillery.training.soft_labels import ROWS, SoftLabels

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object  # at run time it comes before either trainer's own bases


class ObjectiveMixin(_Trainer):
    """What both trainers do our way. It comes before a transformers Trainer in the bases.

    Args:
        objective: The loss, with its settings and needs.
        mentor: Frozen model of the same vocabulary that runs beside the student, or None.
        soft_labels: What a mentor said before about the rows of the data set, or None.
        order: Rows of each epoch.
        checkpoints: Folder of partial progress.
        seconds_before: Training time of the interrupted tries before this one.
    """

    def __init__(
        self,
        *args: Any,
        objective: Objective,
        mentor: PreTrainedModel | None,
        soft_labels: SoftLabels | None = None,
        order: EpochOrder,
        checkpoints: Path,
        seconds_before: float,
        **kwargs: Any,
    ) -> None:
        self.objective, self.mentor, self.order, self.checkpoints = objective, mentor, order, checkpoints
        self.soft_labels = soft_labels
        self.seconds_before, self.started = seconds_before, time.monotonic()
        self.counts: Tensor | None = None
        super().__init__(*args, **kwargs)
        # Our loss divides by the tokens of the whole batch: the Trainer must count them, and not divide once more.
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = True

    def logits(self, model: nn.Module, inputs: dict[str, Tensor], labels: Tensor, *, everywhere: bool) -> Tensor:
        """(positions with loss, vocabulary), or (batch, tokens, vocabulary) if `everywhere`; aligned with `labels`."""
        raise NotImplementedError

    def aligned_labels(self, labels: Tensor) -> Tensor:
        """Labels (batch, tokens) such that position i is what the logits at i predict."""
        raise NotImplementedError

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Loss of one micro-batch, over the tokens of the whole batch."""
        if return_outputs:
            raise NotImplementedError("outputs are not kept: evaluation is the work of `predict`")
        inputs = dict(inputs)
        rows = inputs.pop(ROWS, None)
        labels = self.aligned_labels(inputs.pop("labels"))
        feedback = _at_positions(inputs.pop("feedback", None), labels)
        if not _carries_loss(labels):  # an empty pass: it adds nothing, and takes part in averaging the gradients
            return self.logits(model, inputs, labels, everywhere=False).float().sum()
        everywhere = "all-positions" in self.objective.needs
        student = self.logits(model, inputs, labels, everywhere=everywhere)
        mentor = None
        if self.soft_labels is not None and rows is not None:
            mentor = self.soft_labels.at(rows, labels)
        elif self.mentor is not None:
            with torch.no_grad():
                mentor = self.logits(self.mentor, inputs, labels, everywhere=everywhere)
        if not everywhere:
            supervised = labels != IGNORE
            feedback = None if feedback is None else feedback[supervised]
            labels = labels[supervised]
        loss = self.objective.compute(
            Batch(student, labels, num_items_in_batch, mentor=mentor, feedback=feedback, counts=self.counts)
        )
        if num_items_in_batch is not None:  # tokens of all processes were counted; DDP averages their gradients
            loss = loss * self.accelerator.num_processes
        return loss

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> tuple[list, Any]:
        """Also sum the counts that the objective divides by, over the micro-batches of all devices."""
        samples, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        count_of = getattr(self.objective, "counts", None)
        if count_of is not None:
            counts = []
            for sample in samples:
                labels = self.aligned_labels(sample["labels"])
                feedback = _at_positions(sample.get("feedback"), labels)
                if not _carries_loss(labels):
                    labels, feedback = labels[:0], None if feedback is None else feedback[:0]
                counts.append(count_of(labels, feedback))
            self.counts = self.accelerator.reduce(torch.stack(counts).sum(dim=0).to(device), reduction="sum")
        return samples, items

    def get_train_dataloader(self) -> DataLoader:
        """The passes of this process.

        The base class has accelerate deal passes out in turn, which repeats rows in the last batch of an epoch until
        all processes have equally many.
        """
        args = self.args
        passes = ProcessPasses(self.order, args.per_device_train_batch_size, args.process_index, args.world_size)
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=passes,
            collate_fn=partial(collate_pass, collate=self.data_collator),
            pin_memory=args.dataloader_pin_memory,
        )
        return prepare_data_loader(loader, args.device, num_processes=1, process_index=0, put_on_device=True)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Weight decay on matrices only: not on norms, found by module type, and not on biases.

        By name, T5's `layer_norm` passes the filter of the papers' code (Mentor-KD, fault H).
        """
        undecayed = set()
        for path, module in model.named_modules():
            for name, parameter in module.named_parameters(recurse=False):
                full = f"{path}.{name}" if path else name
                if "norm" in type(module).__name__.lower() or "bias" in full.rsplit(".", 2)[-1] or parameter.ndim < 2:
                    undecayed.add(full)
                if "relative_attention_bias" in full:  # T5 keeps these biases in an embedding
                    undecayed.add(full)
        return [name for name, _ in model.named_parameters() if name not in undecayed]

    def seconds(self) -> float:
        """Training time so far, over all tries."""
        return self.seconds_before + time.monotonic() - self.started

    def _get_output_dir(self, trial: Any) -> str:
        return str(writing_folder(self.checkpoints))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # each process has written its random state
        if self.is_world_process_zero():
            seal(self.checkpoints, self.state.global_step, self.seconds())
        self.accelerator.wait_for_everyone()

    def create_model_card(self, *_args: Any, **_kwargs: Any) -> None:
        """Write none: the manifest says what a model is."""


class CausalTrainer(ObjectiveMixin, SFTTrainer):
    """Decoder-only models: the logits at position i predict the token at i + 1."""

    def aligned_labels(self, labels: Tensor) -> Tensor:
        return next_tokens(labels)

    def logits(self, model: nn.Module, inputs: dict[str, Tensor], labels: Tensor, *, everywhere: bool) -> Tensor:
        return logits_of(model, inputs, labels, everywhere)


class EncoderDecoderTrainer(ObjectiveMixin, Seq2SeqTrainer):
    """Encoder-decoders: the decoder reads the labels shifted to the right, so its logits are aligned already."""

    def aligned_labels(self, labels: Tensor) -> Tensor:
        return labels

    def logits(self, model: nn.Module, inputs: dict[str, Tensor], labels: Tensor, *, everywhere: bool) -> Tensor:
        shifted = self.accelerator.unwrap_model(model).prepare_decoder_input_ids_from_labels(labels=labels)
        return logits_of(model, {**inputs, "decoder_input_ids": shifted}, labels, everywhere)


def _carries_loss(labels: Tensor) -> bool:
    """Whether any position does; the labels of an empty pass do not."""
    return bool((labels != IGNORE).any())


def _at_positions(of_rows: Tensor | None, labels: Tensor) -> Tensor | None:
    """A mark of each row, (rows,), at every position of its row, (rows, tokens)."""
    return None if of_rows is None else of_rows[:, None].expand_as(labels)


class FollowEpoch(TrainerCallback):
    """Tells the order which epoch it is: accelerate's wrappers lose it when a resumed epoch skips batches."""

    def __init__(self, order: EpochOrder) -> None:
        self.order = order

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        self.order.set_epoch(state.global_step // self.order.steps_per_epoch())


class SaveNowAndThen(TrainerCallback):
    """Requests a checkpoint every `seconds` seconds, and every `steps` steps if that is given."""

    def __init__(self, seconds: float, steps: int | None) -> None:
        self.seconds, self.steps, self.last = seconds, steps, time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        due = time.monotonic() - self.last >= self.seconds
        if torch.distributed.is_initialized():  # clocks differ, and all must save together: the first process decides
            flag = torch.tensor(int(due), device=args.device)
            torch.distributed.broadcast(flag, src=0)
            due = bool(flag)
        if self.steps is not None:
            due = due or state.global_step % self.steps == 0
        if due and state.global_step < state.max_steps:
            control.should_save = True
            self.last = time.monotonic()


class Progress(TrainerCallback):
    """A bar on stderr, with the loss. The Trainer's own prints its logs to stdout."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.bar: tqdm | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc=self.label,
                unit="step",
                mininterval=2,
                file=sys.stderr,
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **_kwargs: Any) -> None:
        if self.bar is not None and logs and "loss" in logs:
            self.bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.close()
