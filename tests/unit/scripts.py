"""Scripts of the workflow, called in this process with files and plain values: the interface that rules use."""

import importlib.util
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


def script(stage: str) -> ModuleType:
    """A script, imported: then it runs nothing."""
    spec = importlib.util.spec_from_file_location(f"script_{stage}", SCRIPTS / f"{stage}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Write one JSON object a line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line."""
    return [json.loads(line) for line in path.read_text().splitlines()]
