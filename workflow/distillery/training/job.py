"""What a training is: everything that decides its weights, and beside it the options of the machine."""

from dataclasses import dataclass
from pathlib import Path

from distillery.config.extensions import Objective
from distillery.config.recipe import Train
from distillery.models.tokenization import Architecture, Form


@dataclass(frozen=True)
class MachineOptions:
    """What a machine may choose: memory, speed and safety of a training. The weights differ only by rounding.

    Args:
        device_batch_size: Rows per device and pass; default: its share of the batch.
        gradient_checkpointing: Trade time for memory.
        checkpoint_seconds: Save partial progress this often.
        checkpoint_steps: Save it also after every this many updates.
    """

    device_batch_size: int | None = None
    gradient_checkpointing: bool = False
    checkpoint_seconds: float = 300.0
    checkpoint_steps: int | None = None


@dataclass(frozen=True)
class TrainingJob:
    """One training, without its rows.

    Args:
        base: Prepared folder of the model to start from.
        out: Folder to publish: config, tokenizer and safetensors, bf16 where `train.precision` is bf16, else float32.
            Adapters are merged, so that any engine serves it.
        checkpoints: Folder of partial progress, named by the caller after all that shapes the result. It is left in
            place: the caller removes it when the result is stored.
        train: Section of the recipe: how weights are fitted.
        objective: Section of the recipe: which loss.
        architecture: `causal` or `encoder-decoder`.
        seed: Decides row order, dropout and adapter initialisation.
        mentor: Prepared folder of a mentor that runs beside the student, for objectives that need one; of the same
            vocabulary.
        soft_labels: File of what a mentor said before about the same rows, in its place.
        form: What targets are: texts, or programs, whose white space the tokenizer must keep.
        steps: Updates to make instead of those that `train` says, repeating the rows (a compute-matched control).
        machine: Options that are no part of the result.
    """

    base: Path
    out: Path
    checkpoints: Path
    train: Train
    objective: Objective
    architecture: Architecture
    seed: int
    mentor: Path | None = None
    soft_labels: Path | None = None
    form: Form = "text"
    steps: int | None = None
    machine: MachineOptions = MachineOptions()
