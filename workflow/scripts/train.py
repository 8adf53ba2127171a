"""Train one model on the rows of its recipe: a student, or a mentor."""

import math
from pathlib import Path
from typing import Any, Literal

from distillery.jobs.runner import run_script


def main(
    rows: Path,
    base: Path,
    folder: Path,
    manifest: Path,
    summary: Path,
    train: dict[str, Any],
    objective: dict[str, Any],
    form: Literal["text", "program"],
    seed: int,
    progress: Path,
    mentor: Path | None = None,
    soft_labels: Path | None = None,
    matched: Path | None = None,
) -> dict[str, Any]:
    """Write the trained model's folder, its manifest and the course of the training.

    The recipe's name is not given: recipes with equal rows, base model and settings are one training.

    Args:
        base: Manifest of the base model. `mentor`: manifest of the model that runs beside the student.
        soft_labels: What a mentor said before about these rows; then no mentor is given.
        form: What targets are, by the student's prompt.
        matched: Rows of another recipe: this training makes as many updates as that one would.
        progress: Folder of checkpoints; a training that finds some continues from the last.
    """
    from distillery.config.recipe import Train
    from distillery.files import sha256_file, write_json
    from distillery.models.manifest import Training, describe_model, read_manifest, same_vocabulary
    from distillery.records import TrainingRow, read_records
    from distillery.training.objectives import OBJECTIVES

    started_from = read_manifest(base)
    assert started_from.architecture != "api"  # settings are checked: endpoints only teach
    settings = Train.model_validate(train)
    if mentor is not None:
        same_vocabulary(read_manifest(mentor), started_from)
    steps = None
    if matched is not None:
        from distillery.training.held_out import hold_out
        from distillery.training.units import count_units

        units = count_units(hold_out(list(read_records(matched, TrainingRow)), settings.held_out)[0])
        steps = math.ceil(units / settings.batch_size) * settings.epochs

    from distillery.jobs.gpus import torch_device
    from distillery.training.train import TrainingJob, train_model  # heavy, so after the inputs are known to be good

    if soft_labels is not None:
        from distillery.training.soft_labels import SoftLabels

        SoftLabels(soft_labels).check_student(started_from)
    course = train_model(
        list(read_records(rows, TrainingRow)),
        TrainingJob(
            base=base.parent / "model",
            out=folder,
            checkpoints=progress,
            train=settings,
            objective=OBJECTIVES[objective["loss"]].model_validate(objective),
            mentor=mentor.parent / "model" if mentor else None,
            soft_labels=soft_labels,
            architecture=started_from.architecture,
            form=form,
            seed=seed,
            steps=steps,
        ),
    )
    rows_sha256 = sha256_file(rows)
    made = describe_model(
        folder,
        name=f"{started_from.name}, {objective['loss']} on rows {rows_sha256[:12]}, seed {seed}",
        kind="trained",
        architecture=started_from.architecture,
        training=Training(
            base=started_from.identity,
            objective=objective["loss"],
            rows_sha256=rows_sha256,
            seed=seed,
            steps=course.steps,
        ),
    )
    write_json(manifest, made.model_dump(mode="json"))
    device = "gpu" if torch_device() == "cuda" else "cpu"
    write_json(summary, {"train_seconds": course.seconds, "device": device, **course.model_dump(mode="json")})
    return {
        "tokens": course.total_tokens,
        "steps": course.steps,
        "seconds": round(course.seconds, 2),
        "parameters": started_from.parameters,
    }


run_script("train", main, globals())
