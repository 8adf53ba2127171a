"""Why a result is stale: the components of its key that differ from those in its provenance record."""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillery.errors import UserError
from distillery.files import read_json
from distillery.jobs.code_digest import LIBRARY, definition_digests
from distillery.jobs.job import NOT_FOR_MAIN
from distillery.planning.forecast import Forecast
from distillery.planning.snakemake_graph import Node

ABSENT = "(absent)"
CODE = "code of "


@dataclass(frozen=True)
class Difference:
    """One component of a key, as it was and as it is now; of code these are digests, which tell a reader nothing."""

    component: str
    old: Any
    new: Any

    def __str__(self) -> str:
        if self.component.startswith(CODE):
            word = "added" if self.old == ABSENT else "removed" if self.new == ABSENT else "changed"
            return f"{self.component}: {word}"
        return f"{self.component}: {_short(self.old)} → {_short(self.new)}"


def recorded(node: Node) -> dict[str, Any] | None:
    """The provenance record beside a job's outputs; None when the outputs were never made here."""
    try:
        return read_json(node.record) if node.record else None
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(
            f"not a provenance record: {error}", file=node.record, remedy="Delete it and run the workflow again"
        ) from error


def differences(record: Mapping[str, Any], forecast: Forecast) -> list[Difference]:
    """What differs between the run that made an output and the job now: settings, library versions, code, inputs.

    An input that another job will compute again is named as such.
    """
    job = forecast.node.job
    now = job.params
    was = record["params"]
    found = [Difference(f"params.{path}", old, new) for path, old, new in changed(_settings(was), _settings(now))]
    found += [
        Difference(f"libraries.{path}", old, new)
        for path, old, new in changed(was.get("libraries", {}), now.get("libraries", {}))
    ]
    if was.get("code") != now.get("code"):
        named = list(_code_differences(record, job.stage))
        found += named or [Difference("code", was.get("code"), now.get("code"))]
    for name, old in record["input_digests"].items():
        if forecast.input_digests is None:
            again = [str(path) for path in forecast.recomputed_inputs if str(path) in record["inputs"].get(name, [])]
            found += [Difference(f"input {name}", "as recorded", f"computed again: {path}") for path in again]
        elif forecast.input_digests.get(name) != old:
            found.append(Difference(f"input {name}", old, forecast.input_digests.get(name, ABSENT)))
    return found


def _code_differences(record: Mapping[str, Any], stage: str) -> Iterator[Difference]:
    """The definitions that changed; for records from before definitions were recorded, the files."""
    if "definitions" not in record:
        for file, old in record.get("modules", {}).items():
            new = _file_digest(LIBRARY.parent / "scripts" / file if file == f"{stage}.py" else LIBRARY / file)
            if new != old:
                yield Difference(f"{CODE}module {file}", old, new)
        return
    old_digests, new_digests = record["definitions"], definition_digests(stage)
    moved = _moved(old_digests, new_digests)
    for name in sorted(old_digests.keys() | new_digests.keys()):
        old, new = old_digests.get(name, ABSENT), new_digests.get(name, ABSENT)
        if old != new and name not in moved:
            yield Difference(f"{CODE}{name}", old, new)


def _moved(old: Mapping[str, str], new: Mapping[str, str]) -> set[str]:
    """Names of definitions that lie in another module now and are otherwise the same."""
    removed = {(name.rpartition(".")[2], old[name]): name for name in old.keys() - new.keys()}
    added = {(name.rpartition(".")[2], new[name]): name for name in new.keys() - old.keys()}
    both = removed.keys() & added.keys()
    return {removed[same] for same in both} | {added[same] for same in both}


def _file_digest(path: Path) -> str:
    """A file's digest as records named it before they named definitions."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError):
        return ABSENT
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_text(part)] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _settings(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in NOT_FOR_MAIN}


def changed(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted path, old and new value of every leaf in which two plain values differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted(old.keys() | new.keys()):
            yield from changed(old.get(key, ABSENT), new.get(key, ABSENT), f"{path}.{key}" if path else str(key))
    elif old != new:
        yield path, old, new


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
