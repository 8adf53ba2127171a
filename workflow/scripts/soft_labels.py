"""Let a trained mentor read the training rows once, and keep what it expects at each target token."""

from pathlib import Path
from typing import Any, Literal

from distillery.jobs.runner import run_script


def main(
    rows: Path,
    mentor: Path,
    labels: Path,
    summary: Path,
    kept: dict[str, Any],
    precision: Literal["fp32", "bf16"],
) -> dict[str, Any]:
    """Write the soft labels of all rows, and what is lost of them.

    Neither the student nor the objective is given: every training on equal rows with this mentor reads the same labels.

    Args:
        mentor: Manifest of the trained mentor.
        kept: What is kept of each distribution: the whole vocabulary, or k tokens.
        precision: As in the trainings that read them.
    """
    from distillery.config.extensions import SoftLabelForm
    from distillery.files import write_json
    from distillery.models.manifest import read_manifest
    from distillery.records import TrainingRow, read_records
    from distillery.training.mentor_pass import write_soft_labels

    about = read_manifest(mentor)
    made = write_soft_labels(
        list(read_records(rows, TrainingRow)),
        mentor.parent / "model",
        about,
        labels,
        form=SoftLabelForm.model_validate(kept),
        precision=precision,
    )
    work = {"tokens": made.pop("tokens"), "seconds": round(made.pop("seconds"), 2), "parameters": about.parameters}
    write_json(summary, made)
    return work


run_script("soft_labels", main, globals())
