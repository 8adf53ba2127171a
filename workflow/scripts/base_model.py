"""Make one base model's folder: fetch it, convert it, or cut it from its parent."""

import os
from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    folder: Path,
    manifest: Path,
    spec: dict[str, Any],
    name: str,
    parent: Path | None = None,
    files: list[Path] | None = None,
    questions: Path | None = None,
    exemplars: Path | None = None,
    prompt: dict[str, Any] | None = None,
) -> None:
    """Write the model folder and its manifest beside it.

    Args:
        parent: Manifest of the model that it is cut from. `files`: what a local model is read from.
        questions: Train questions that choose the layers of a pruned model. `exemplars` and `prompt`: how they are
            shown.
    """
    from pydantic import TypeAdapter

    from distillery.config.model import Model, PrunedModel
    from distillery.config.prompt import Prompt
    from distillery.files import read_json_lines, write_json
    from distillery.models.sources import prepare_model
    from distillery.records import Question, TrainingRow, read_records
    from distillery.tasks.prompts import Renderer
    from distillery.tasks.worked import worked_texts

    model = TypeAdapter(Model).validate_python(spec)
    texts: list[TrainingRow] = []
    if questions is not None and exemplars is not None and isinstance(model, PrunedModel) and model.drop_by_influence:
        texts = worked_texts(
            list(read_records(questions, Question)),
            Renderer(Prompt.model_validate(prompt), read_json_lines(exemplars)),
            count=model.drop_by_influence.questions,
            seed=model.drop_by_influence.seed,
        )
    made = prepare_model(
        model,
        folder,
        parent=parent.parent / "model" if parent else None,
        downloads=Path(os.environ.get("DISTILLERY_DOWNLOADS", "downloads")),
        texts=texts,
    )
    write_json(manifest, made.model_copy(update={"name": name}).model_dump(mode="json"))


run_script("base_model", main, globals())
