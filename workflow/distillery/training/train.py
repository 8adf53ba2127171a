"""The train stage: training rows and a base model in, a model folder and a summary out.

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
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    set_seed,
)
from transformers.utils import logging as transformers_logging
from trl import SFTConfig

from distillery.config.recipe import Lora, MentorKD, Objective, Train
from distillery.errors import UserError
from distillery.models.sources import copy_tokenizer, new_folder
from distillery.models.tokenization import Architecture, Form, encode_rows
from distillery.records import TrainingRow
from distillery.training.batches import EpochOrder
from distillery.training.checkpoints import Checkpoint, last_whole
from distillery.training.held_out import HeldOutLoss, hold_out
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

logger = logging.getLogger(__name__)


def train_model(
    rows: Sequence[TrainingRow],
    base: Path,
    out: Path,
    *,
    train: Train,
    objective: Objective,
    mentor: Path | None,
    architecture: Architecture,
    seed: int,
    checkpoints: Path,
    form: Form = "text",
    steps: int | None = None,
    device_batch_size: int | None = None,
    gradient_checkpointing: bool = False,
    checkpoint_seconds: float = 300.0,
    checkpoint_steps: int | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainSummary:
    """Fit `base` to `rows` and publish the model folder `out`, whole or not at all.

    Args:
        rows: Prompts and targets, in a fixed order (records are sorted): the seed draws from their positions. For
            `two-task` pairs of a feedback and a rationale row; then batches and devices count pairs.
        base: Prepared folder of the model to start from.
        out: Folder with config, tokenizer and safetensors: bf16 where `train.precision` is bf16, else float32.
            Adapters are merged, so that any engine serves it.
        train: Section of the recipe: how weights are fitted.
        objective: Section of the recipe: which loss.
        mentor: Prepared folder of the mentor; needed by `mentor-kd`, and of the same vocabulary.
        architecture: `causal` or `encoder-decoder`.
        seed: Decides row order, dropout and adapter initialisation.
        checkpoints: Folder of partial progress, named by the caller after all that shapes the result. It is left in
            place: the caller removes it when the result is stored.
        form: What targets are: texts, or programs, whose white space the tokenizer must keep.
        steps: Updates to make instead of `train.epochs`, repeating the rows (a compute-matched control).
        device_batch_size: Rows per device and pass; default: its share of the batch. Like the next three an affair of
            the machine, which changes memory and speed, but the result only by rounding.
        gradient_checkpointing: Trade time for memory.
        checkpoint_seconds: Save partial progress this often.
        checkpoint_steps: Save it also every so many updates.
        callbacks: For tests and live displays.

    Raises:
        UserError: Rows cannot be trained on (see `encode_rows` and `units_of`), or mentor and student differ in width.

    Source: Fine-tune-CoT (arXiv 2212.10071), section 3; Mentor-KD (arXiv 2410.09037), section 3.3; MAPD (arXiv
    2410.03663).
    """
    base, out, checkpoints = Path(base), Path(out), Path(checkpoints)
    _quiet()
    _keep_freed_memory()
    tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked by place, so sharing the stop token is harmless
    encode = functools.partial(
        encode_rows, tokenizer=tokenizer, architecture=architecture, max_length=train.max_length, form=form
    )
    rows, held = hold_out(rows, train.held_out)
    units = units_of(rows, objective, encode)
    held_out = [example for unit in units_of(held, objective, encode) for example in unit.examples] if held else []
    order = EpochOrder([unit.tokens for unit in units], train.batch_size, seed)
    steps = steps or train.epochs * order.steps_per_epoch()
    resume = last_whole(checkpoints)
    # Before loading: TRL and peft draw adapter weights while the trainer is built.
    set_seed(seed)
    model = _load(base, architecture, torch.float32)
    use_cache = model.config.use_cache
    teacher = _load_mentor(mentor, architecture, train, objective, model)
    if train.lora is not None:
        model = _adapt(model, train.lora, architecture)
    watch = None
    if held_out:
        watch = HeldOutLoss(
            held_out,
            row_collator(architecture, tokenizer.pad_token_id),
            batch_size=device_batch_size or train.batch_size,
            updates=steps,
            times=train.evaluations,
        )
    trainer = _trainer(
        model,
        tokenizer,
        units,
        order,
        train=train,
        objective=objective,
        mentor=teacher,
        architecture=architecture,
        checkpoints=checkpoints,
        resume=resume,
        arguments=_arguments(train, steps, seed, checkpoints, architecture, device_batch_size, gradient_checkpointing),
        callbacks=[
            *([watch] if watch else []),
            SaveNowAndThen(checkpoint_seconds, checkpoint_steps),
            Progress(out.name),
            *callbacks,
        ],
    )
    if watch:
        watch.trainer = trainer
    logger.info(
        "%s: %d rows, %d updates of %d %s, %s, %d threads%s",
        out,
        len(rows),
        steps,
        train.batch_size,
        "pairs" if objective.loss == "two-task" else "rows",
        train.precision,
        torch.get_num_threads(),
        f", resumed from step {resume.step}" if resume else "",
    )
    trainer.started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(resume.path) if resume else None)
    seconds = trainer.seconds()
    if trainer.is_world_process_zero():
        _publish(trainer, base, out, train, use_cache)
    trainer.accelerator.wait_for_everyone()
    summary = summarise(trainer, units, order, seconds, resume, held_out)
    del trainer, model, teacher
    gc.collect()
    logger.info("%s: loss %.3f, %.0f target tokens/s", out, summary.final_loss, summary.target_tokens_per_second)
    return summary


def _quiet() -> None:
    """One bar, ours: the loading bars of transformers and datasets would fill the log."""
    transformers_logging.disable_progress_bar()


def _keep_freed_memory() -> None:
    """Let glibc keep large freed blocks for the next step, where training is on the CPU.

    By default each block above 32 MB is mapped, zeroed page by page and unmapped again, several times a step for the
    gradients of a wide vocabulary; without that a step took 11 % less CPU time (SmolLM2, 16 layers, one core) and
    0.3 GB more.
    """
    if torch.cuda.is_available():
        return
    trim_threshold, mmap_max = -1, -4  # names of malloc.h
    with contextlib.suppress(OSError, AttributeError):  # another libc: then it stays as slow as it was
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


def _load(folder: Path, architecture: Architecture, dtype: torch.dtype) -> PreTrainedModel:
    kind = AutoModelForCausalLM if architecture == "causal" else AutoModelForSeq2SeqLM
    return kind.from_pretrained(folder, dtype=dtype, trust_remote_code=False, use_safetensors=True)


def _load_mentor(
    folder: Path | None,
    architecture: Architecture,
    train: Train,
    objective: Objective,
    student: PreTrainedModel,
) -> PreTrainedModel | None:
    """The frozen mentor; None where its soft labels have no weight, so that it costs nothing."""
    if not isinstance(objective, MentorKD) or objective.weight == 0:
        return None
    if folder is None:
        raise UserError("the objective mentor-kd needs a mentor model", key="objective.loss", value=objective.loss)
    mentor = _load(Path(folder), architecture, torch.bfloat16 if train.precision == "bf16" else torch.float32)
    widths = mentor.config.vocab_size, student.config.vocab_size
    if widths[0] != widths[1]:
        raise UserError(
            f"mentor and student have {widths[0]} and {widths[1]} embedding rows",
            file=folder,
            remedy="Choose mentor and student from one family",
        )
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    return mentor.requires_grad_(False).eval().to(device)


def _adapt(model: PreTrainedModel, lora: Lora, architecture: Architecture) -> PreTrainedModel:
    from peft import LoraConfig, TaskType, get_peft_model

    return get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.CAUSAL_LM if architecture == "causal" else TaskType.SEQ_2_SEQ_LM,
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=lora.targets,
        ),
    )


def _arguments(
    train: Train,
    steps: int,
    seed: int,
    checkpoints: Path,
    architecture: Architecture,
    device_batch_size: int | None,
    gradient_checkpointing: bool,
) -> SFTConfig | Seq2SeqTrainingArguments:
    kind = SFTConfig if architecture == "causal" else Seq2SeqTrainingArguments
    warmup = round(train.warmup * steps)
    extra: dict[str, Any] = {}
    if architecture == "causal":
        # Rows come tokenised, within max_length, and labels are made by our collator.
        extra = {"max_length": None, "dataset_kwargs": {"skip_prepare_dataset": True}}
    arguments = kind(
        output_dir=str(checkpoints),
        max_steps=steps,
        learning_rate=train.learning_rate,
        lr_scheduler_type="constant_with_warmup" if train.schedule == "constant" and warmup else train.schedule,
        warmup_steps=warmup,
        optim="adamw_torch_fused",
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm or 0.0,
        use_cpu=not torch.cuda.is_available(),  # transformers wants it said before it computes in bf16 there
        bf16=train.precision == "bf16",
        fp16=False,
        tf32=None,
        gradient_checkpointing=gradient_checkpointing,
        seed=seed,
        data_seed=seed,
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is not a number must be seen, not averaged away
        save_strategy="no",  # our callback decides, by time
        report_to=[],
        push_to_hub=False,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=torch.cuda.is_available(),
        **extra,
    )
    share, spare = divmod(train.batch_size, arguments.world_size)
    micro = device_batch_size or share
    if spare or not micro or share % micro:
        raise UserError(
            f"the rows of a batch cannot be split over {arguments.world_size} devices, {micro} at a time",
            key="train.batch_size",
            value=train.batch_size,
            remedy="Choose numbers that divide it",
        )
    arguments.per_device_train_batch_size = micro
    arguments.gradient_accumulation_steps = share // micro
    return arguments


def _trainer(
    model: PreTrainedModel,
    tokenizer: Any,
    units: list[Unit],
    order: EpochOrder,
    *,
    train: Train,
    objective: Objective,
    mentor: PreTrainedModel | None,
    architecture: Architecture,
    checkpoints: Path,
    resume: Checkpoint | None,
    arguments: SFTConfig | Seq2SeqTrainingArguments,
    callbacks: list[TrainerCallback],
) -> ObjectiveMixin:
    trainer = (CausalTrainer if architecture == "causal" else EncoderDecoderTrainer)(
        model=model,
        args=arguments,
        data_collator=collator_of(units, tokenizer, train=train, objective=objective, architecture=architecture),
        train_dataset=dataset_of(units, objective),
        processing_class=tokenizer,
        callbacks=[FollowEpoch(order), *callbacks],
        objective=objective,
        mentor=mentor,
        order=order,
        checkpoints=checkpoints,
        seconds_before=resume.seconds if resume else 0.0,
    )
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    return trainer


def _publish(trainer: ObjectiveMixin, base: Path, out: Path, train: Train, use_cache: bool) -> None:
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    if train.lora is not None:
        model = model.merge_and_unload()
    if train.precision == "bf16":
        model = model.to(torch.bfloat16)
    model.config.use_cache = use_cache  # the Trainer switches it off, and generation would be quadratic without
    with new_folder(out) as folder:
        model.save_pretrained(folder)
        copy_tokenizer(base, folder)
    shutil.rmtree(trainer.checkpoints / ".writing", ignore_errors=True)
