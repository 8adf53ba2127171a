"""The models of a training: student and mentor as torch modules, and the adapters of a student."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from distillery.config.recipe import Lora
from distillery.errors import UserError
from distillery.models.tokenization import Architecture
from distillery.training.job import TrainingJob


def load_model(folder: Path, architecture: Architecture, dtype: torch.dtype) -> PreTrainedModel:
    """A prepared model folder, weights in `dtype`; code and pickles in it are not run."""
    kind = AutoModelForCausalLM if architecture == "causal" else AutoModelForSeq2SeqLM
    return kind.from_pretrained(folder, dtype=dtype, trust_remote_code=False, use_safetensors=True)


def load_mentor(job: TrainingJob, student: PreTrainedModel) -> PreTrainedModel | None:
    """The frozen mentor; None where the objective needs none, or has its soft labels, so that it costs nothing.

    Raises:
        UserError: One is needed and none is given, its logits are not as wide as the student's, or the objective reads
            top-k soft labels, which are stored before.
    """
    if "mentor" not in job.objective.needs or job.soft_labels is not None:
        return None
    form = job.objective.soft_label_form
    if form is not None and form.form == "top-k":
        raise UserError(
            "top-k soft labels are stored before the training, and none are given",
            key="objective.soft_labels",
            value=form.form,
            remedy="Run the stage soft_labels, or write `soft_labels: online`",
        )
    if job.mentor is None:
        raise UserError(
            f"the objective {job.objective.loss} needs a mentor model",
            key="objective.loss",
            value=job.objective.loss,
            remedy="Name the mentor in the recipe (`mentor`), or take another objective",
        )
    dtype = torch.bfloat16 if job.train.precision == "bf16" else torch.float32
    mentor = load_model(job.mentor, job.architecture, dtype)
    widths = mentor.config.vocab_size, student.config.vocab_size
    if widths[0] != widths[1]:
        raise UserError(
            f"mentor and student have {widths[0]} and {widths[1]} embedding rows",
            file=job.mentor,
            remedy="Choose mentor and student from one family",
        )
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    return mentor.requires_grad_(False).eval().to(device)


def adapted(model: PreTrainedModel, lora: Lora, architecture: Architecture) -> PreTrainedModel:
    """The model with adapters, which alone are trained."""
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
