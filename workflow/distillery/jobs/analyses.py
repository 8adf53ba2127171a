"""Analyses of source files, kept beside the byte code: a dry run reads them in place of parsing 130 files.

An analysis is named by the digest of the file's bytes, and all of them by the digest of the code that makes them and by
the version of Python: so no change of either can leave an old one in use.
"""

import contextlib
import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distillery.files import atomic_open
from distillery.jobs.definitions import Module, Part, analyse

ANALYSIS = ("bindings", "definition_forms", "definitions", "import_effects")
"""Modules that decide how an analysis comes out."""


class Analyses:
    """Analyses of files, kept in a folder by the digest of each file.

    Use as a context: analyses that were used are written at its end. A folder that cannot be written costs time only.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"definitions.{sys.implementation.cache_tag}.json"
        self._used: dict[str, Module] = {}
        self._kept: dict[str, Module] = {}
        code = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in ANALYSIS]
        self._version = hashlib.sha256(b"".join(code)).hexdigest()

    def __enter__(self) -> "Analyses":
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads(self.path.read_bytes())
            if found["version"] == self._version:
                self._kept = {key: _module_of(value) for key, value in found["modules"].items()}
        return self

    def __exit__(self, *_: object) -> None:
        if self._used.keys() == self._kept.keys():
            return
        kept = {"version": self._version, "modules": {key: asdict(value) for key, value in self._used.items()}}
        with contextlib.suppress(OSError), atomic_open(self.path) as out:
            json.dump(kept, out)

    def of(self, source: bytes, module: str, package: bool) -> Module:
        """The analysis of a file, kept or new."""
        key = hashlib.sha256(f"{module} {package}\n".encode() + source).hexdigest()
        if key not in self._used:
            self._used[key] = self._kept.get(key) or analyse(source, module, package=package)
        return self._used[key]


def _module_of(value: dict[str, Any]) -> Module:
    def frozen(found: Any) -> Any:
        return tuple(map(frozen, found)) if isinstance(found, list) else found

    parts = {name: Part(**{key: frozen(item) for key, item in part.items()}) for name, part in value["parts"].items()}
    names = {name: frozen(targets) for name, targets in value["names"].items()}
    return Module(parts, names, frozen(value["on_import"]), frozen(value["imports"]))
