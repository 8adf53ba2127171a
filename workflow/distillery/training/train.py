"""The train stage: training rows and a base model in, a model folder and a summary out.

    prepare   rows become units of token ids; the student is loaded, and its mentor or what that said before
    fit       the trainer makes the updates
    publish   the model folder, whole or not at all

Weights are kept in float32 and, with `precision: bf16`, computed with in bf16 (autocast). Pure bf16 weights were
9-13 % faster on CPU, but bf16 has 8 bits of precision: on a weight above 0.125 an update below 4.9e-4, the usual size
of an AdamW step at these learning rates, is rounded away. (This follows from the format; no accuracy was compared.)

What this module does not do: choose the best epoch. The last weights are saved; selection belongs to the recipe.
"""

import contextlib
import ctypes
import functools
import gc
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel, PrinterCallback, ProgressCallback, TrainerCallback, set_seed
from transformers.utils import logging as transformers_logging

from distillery.config.extensions import refusal
from distillery.errors import UserError
from distillery.jobs.gpus import torch_device
from distillery.models.sources import copy_tokenizer, new_folder
from distillery.models.tokenization import Example, encode_rows, padding_tokenizer
from distillery.records import TrainingRow
from distillery.training.arguments import trainer_arguments
from distillery.training.batches import EpochOrder
from distillery.training.checkpoints import Checkpoint, last_whole
from distillery.training.held_out import HeldOutLoss, hold_out
from distillery.training.job import MachineOptions, TrainingJob
from distillery.training.objectives import TRAINERS
from distillery.training.soft_labels import ROWS, SoftLabels, WithRows
from distillery.training.student import adapted, load_mentor, load_model
from distillery.training.summary import TrainSummary, summarise
from distillery.training.trainers import (
    CausalTrainer,
    EncoderDecoderTrainer,
    FollowEpoch,
    ObjectiveMixin,
    Progress,
    SaveNowAndThen,
)
from distillery.training.units import Unit, collator_of, dataset_of, row_collator, units_of

__all__ = ["MachineOptions", "TrainingJob", "train_model"]

logger = logging.getLogger(__name__)


def train_model(
    rows: Sequence[TrainingRow], job: TrainingJob, *, callbacks: Sequence[TrainerCallback] = ()
) -> TrainSummary:
    """Fit the job's base model to `rows` and publish its folder, whole or not at all.

    Args:
        rows: Prompts and targets, in a fixed order (records are sorted): the seed draws from their positions. For an
            objective on pairs, pairs of a feedback and a rationale row; then batches and devices count pairs.
        callbacks: For tests and live displays.

    Raises:
        UserError: Rows cannot be trained on (see `encode_rows` and `units_of`), the objective cannot be carried out on
            this architecture, or mentor and student differ in width.

    Source: Fine-tune-CoT (arXiv 2212.10071), section 3; Mentor-KD (arXiv 2410.09037), section 3.3; MAPD (arXiv
    2410.03663).
    """
    transformers_logging.disable_progress_bar()  # the log has one bar, ours
    _keep_freed_memory()
    prepared = prepare(rows, job)
    trainer, seconds = fit(prepared, job, callbacks)
    publish(trainer, prepared, job)
    summary = summarise(trainer, prepared.units, prepared.order, seconds, prepared.resume, prepared.held_out)
    del trainer, prepared
    gc.collect()
    logger.info("%s: loss %.3f, %.0f target tokens/s", job.out, summary.final_loss, summary.target_tokens_per_second)
    return summary


@dataclass(frozen=True)
class Prepared:
    """What a training starts from."""

    tokenizer: Any
    units: list[Unit]
    held_out: list[Example]
    order: EpochOrder
    steps: int
    resume: Checkpoint | None
    model: PreTrainedModel
    use_cache: bool
    mentor: PreTrainedModel | None
    soft_labels: SoftLabels | None


def prepare(rows: Sequence[TrainingRow], job: TrainingJob) -> Prepared:
    """Encode the rows, find the last checkpoint, set the seed and load the models."""
    refused = refusal(job.objective, job.architecture, TRAINERS)
    if refused is not None:
        remedy = "Change this setting, or take another student"
        raise UserError(refused.problem, key=f"objective.{refused.key}", value=refused.value, remedy=remedy)
    train = job.train
    tokenizer = padding_tokenizer(job.base)
    encode = functools.partial(
        encode_rows, tokenizer=tokenizer, architecture=job.architecture, max_length=train.max_length, form=job.form
    )
    used, held = hold_out(rows, train.held_out)
    units = units_of(used, job.objective, encode)
    held_out = [example for unit in units_of(held, job.objective, encode) for example in unit.examples] if held else []
    order = EpochOrder([unit.tokens for unit in units], train.batch_size, job.seed)
    resume = last_whole(job.checkpoints)
    # Before loading: TRL and peft draw adapter weights while the trainer is built.
    set_seed(job.seed)
    model = load_model(job.base, job.architecture, torch.float32)
    use_cache = model.config.use_cache
    mentor = load_mentor(job, model)
    soft_labels = SoftLabels(job.soft_labels) if job.soft_labels and "mentor" in job.objective.needs else None
    if train.lora is not None:
        model = adapted(model, train.lora, job.architecture)
    steps = job.steps or train.updates or train.epochs * order.steps_per_epoch()
    return Prepared(tokenizer, units, held_out, order, steps, resume, model, use_cache, mentor, soft_labels)


def fit(
    prepared: Prepared, job: TrainingJob, callbacks: Sequence[TrainerCallback] = ()
) -> tuple[ObjectiveMixin, float]:
    """Make the updates, from the last checkpoint on where there is one.

    Returns:
        The trainer with the trained model, and the seconds of training over all tries.
    """
    watch = _held_out_loss(prepared, job)
    trainer = _trainer(
        prepared,
        job,
        [
            *([watch] if watch else []),
            SaveNowAndThen(job.machine.checkpoint_seconds, job.machine.checkpoint_steps),
            Progress(job.out.name),
            *callbacks,
        ],
    )
    if watch:
        watch.trainer = trainer
    resume = prepared.resume
    logger.info(
        "%s: %d rows, %d updates of %d %s, %s, %d threads%s",
        job.out,
        sum(len(unit.examples) for unit in prepared.units),
        prepared.steps,
        job.train.batch_size,
        "pairs" if "pairs" in job.objective.needs else "rows",
        job.train.precision,
        torch.get_num_threads(),
        f", resumed from step {resume.step}" if resume else "",
    )
    trainer.started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(resume.path) if resume else None)
    return trainer, trainer.seconds()


def publish(trainer: ObjectiveMixin, prepared: Prepared, job: TrainingJob) -> None:
    """Write the model folder from the first process; the others wait."""
    if trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        if job.train.lora is not None:
            model = model.merge_and_unload()
        if job.train.precision == "bf16":
            model = model.to(torch.bfloat16)
        # The Trainer switches the cache off, and generation would be quadratic without it.
        model.config.use_cache = prepared.use_cache
        with new_folder(job.out) as folder:
            model.save_pretrained(folder)
            copy_tokenizer(job.base, folder)
        shutil.rmtree(job.checkpoints / ".writing", ignore_errors=True)
    trainer.accelerator.wait_for_everyone()


def _held_out_loss(prepared: Prepared, job: TrainingJob) -> HeldOutLoss | None:
    if not prepared.held_out:
        return None
    return HeldOutLoss(
        prepared.held_out,
        row_collator(job.architecture, prepared.tokenizer.pad_token_id),
        batch_size=job.machine.device_batch_size or job.train.batch_size,
        updates=prepared.steps,
        times=job.train.evaluations,
    )


def _trainer(prepared: Prepared, job: TrainingJob, callbacks: list[TrainerCallback]) -> ObjectiveMixin:
    objective, architecture = job.objective, job.architecture
    data = dataset_of(prepared.units, objective)
    collate: Any = collator_of(
        prepared.units, prepared.tokenizer, train=job.train, objective=objective, architecture=architecture
    )
    if prepared.soft_labels is not None:
        places = [prepared.soft_labels.rows_of(unit.examples) for unit in prepared.units]
        data, collate = data.add_column(ROWS, places), WithRows(collate)
    trainer = (CausalTrainer if architecture == "causal" else EncoderDecoderTrainer)(
        model=prepared.model,
        args=trainer_arguments(job, prepared.steps),
        data_collator=collate,
        train_dataset=data,
        processing_class=prepared.tokenizer,
        callbacks=[FollowEpoch(prepared.order), *callbacks],
        objective=objective,
        mentor=prepared.mentor,
        soft_labels=prepared.soft_labels,
        order=prepared.order,
        checkpoints=job.checkpoints,
        seconds_before=prepared.resume.seconds if prepared.resume else 0.0,
    )
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    return trainer


def _keep_freed_memory() -> None:
    """Let glibc keep large freed blocks for the next step, where training is on the CPU.

    By default each block above 32 MB is mapped, zeroed page by page and unmapped again, several times a step for the
    gradients of a wide vocabulary; without that a step took 11 % less CPU time (SmolLM2, 16 layers, one core) and
    0.3 GB more.
    """
    if torch_device() == "cuda":
        return
    trim_threshold, mmap_max = -1, -4  # names of malloc.h
    with contextlib.suppress(OSError, AttributeError):  # another libc has no such setting
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)
