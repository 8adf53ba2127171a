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
) -> None:
    """Write the model folder and its manifest beside it.

    Args:
        parent: Manifest of the model that it is cut from. `files`: what a local model is read from.
    """
    from pydantic import TypeAdapter

    from distillery.config.model import Model
    from distillery.files import write_json
    from distillery.models.sources import prepare_model

    made = prepare_model(
        TypeAdapter(Model).validate_python(spec),
        folder,
        parent=parent.parent / "model" if parent else None,
        downloads=Path(os.environ.get("DISTILLERY_DOWNLOADS", "downloads")),
    )
    write_json(manifest, made.model_copy(update={"name": name}).model_dump(mode="json"))


run_script("base_model", main, globals())
