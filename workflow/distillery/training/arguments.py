"""Arguments of the trainers: what a recipe's `train` section means to TRL and transformers."""

from typing import Any

from transformers import Seq2SeqTrainingArguments
from trl import SFTConfig

from distillery.errors import UserError
from distillery.jobs.gpus import torch_device
from distillery.training.job import TrainingJob


def trainer_arguments(job: TrainingJob, steps: int) -> SFTConfig | Seq2SeqTrainingArguments:
    """What TRL and transformers are told, for `steps` updates.

    Raises:
        UserError: A batch cannot be divided over the devices, or the job was given a GPU and torch sees none.
    """
    train, architecture, device = job.train, job.architecture, torch_device()
    kind = SFTConfig if architecture == "causal" else Seq2SeqTrainingArguments
    warmup = round(train.warmup * steps)
    extra: dict[str, Any] = {}
    if architecture == "causal":
        # Rows are tokenised already, within max_length, and our collator makes the labels.
        extra = {"max_length": None, "dataset_kwargs": {"skip_prepare_dataset": True}}
    arguments = kind(
        output_dir=str(job.checkpoints),
        max_steps=steps,
        learning_rate=train.learning_rate,
        lr_scheduler_type="constant_with_warmup" if train.schedule == "constant" and warmup else train.schedule,
        warmup_steps=warmup,
        optim="adamw_torch_fused",
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm or 0.0,
        use_cpu=device == "cpu",  # transformers computes in bf16 on a CPU only if this is set
        bf16=train.precision == "bf16",
        fp16=False,
        tf32=None,
        gradient_checkpointing=job.machine.gradient_checkpointing,
        seed=job.seed,
        data_seed=job.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is not a number must be seen, not averaged away
        save_strategy="no",  # our callback decides, by time
        report_to=[],
        push_to_hub=False,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=device == "cuda",
        **extra,
    )
    share, spare = divmod(train.batch_size, arguments.world_size)
    micro = job.machine.device_batch_size or share
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
