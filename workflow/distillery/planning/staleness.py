"""Why a result is stale: the first component of its key that is another than in its provenance record."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from distillery.errors import UserError
from distillery.files import read_json
from distillery.jobs.code_digest import module_digests
from distillery.jobs.job import NOT_FOR_MAIN
from distillery.planning.forecast import Forecast
from distillery.planning.snakemake_graph import Node

ABSENT = "(absent)"


@dataclass(frozen=True)
class Difference:
    """One component of a key, as it was and as it is now."""

    component: str
    old: Any
    new: Any

    def __str__(self) -> str:
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


def differences(record: Mapping[str, Any], one: Forecast) -> list[Difference]:
    """What differs between the run that made an output and the job as it stands now, the tellingest first.

    Settings come first, then library versions, code, inputs. An input that another job makes anew is named as such.
    """
    now = one.node.job.params
    was = record["params"]
    found = [Difference(f"params.{path}", old, new) for path, old, new in changed(_settings(was), _settings(now))]
    found += [
        Difference(f"libraries.{path}", old, new)
        for path, old, new in changed(was.get("libraries", {}), now.get("libraries", {}))
    ]
    if was.get("code") != now.get("code"):
        modules = list(changed(record.get("modules", {}), module_digests(one.node.job.stage)))
        found += [Difference(f"code of {path}", old, new) for path, old, new in modules] or [
            Difference("code", was.get("code"), now.get("code"))
        ]
    for name, old in record["input_digests"].items():
        if one.input_digests is None:
            anew = [str(path) for path in one.recomputed_inputs if str(path) in record["inputs"].get(name, [])]
            found += [Difference(f"input {name}", "as it was", f"made anew: {path}") for path in anew]
        elif one.input_digests.get(name) != old:
            found.append(Difference(f"input {name}", old, one.input_digests.get(name, ABSENT)))
    return found


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
