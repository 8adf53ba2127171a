"""Explain what pydantic finds in a declared section: one message for one fault, with the place where it was typed."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from distillery.config.extensions import Registry, json_schema
from distillery.config.source import Keys, Source
from distillery.errors import UserError

NO_SUCH_KEY = "no such key"
UNTAGGED = "union_tag_not_found"
UNKNOWN = "unknown_extension"
ABSENT = {"missing", UNTAGGED, f"{UNKNOWN}, missing"}


def explained(kind: Any, error: ValidationError, source: Source, registry: Registry) -> list[UserError]:
    """One error for each fault of a section.

    A misspelt key is a key too many and often a key that is missing as well: it is one fault. A value that fits no kind
    of a union fails for each of them: it is one fault too.
    """
    faults: dict[Keys, list[Any]] = {}
    for fault in error.errors(include_url=False):
        if fault["type"] == UNKNOWN and fault["input"] is None:  # the key that chooses the extension is not there
            fault = {**fault, "type": f"{UNKNOWN}, missing"}
        faults.setdefault(_path(source.content, fault), []).append(fault)
    extra = [path for path, found in faults.items() if found[0]["type"] == "extra_forbidden"]
    absent = {path for path, found in faults.items() if found[0]["type"] in ABSENT}
    needed: dict[Keys, str] = {}
    for path in extra:
        wanted = {gap: _needed_key(faults[gap][0], gap) for gap in absent}
        candidates = {key[-1]: gap for gap, key in wanted.items() if key[:-1] == path[:-1]}
        near = _near(path[-1], candidates) or (next(iter(candidates)) if len(candidates) == len(extra) == 1 else None)
        if near is not None:
            needed[path] = near
            absent.discard(candidates[near])
    if any(_near(path[-1], ["extends"]) for path in extra if len(path) == 1):
        faults = {path: faults[path] for path in extra}  # the rest stands in the recipe that was to be extended
    result = []
    for path, found in faults.items():
        if found[0]["type"] in ABSENT and path not in absent:
            continue
        result.append(_explain(kind, path, found, source, needed.get(path), registry))
    return result


def _explain(
    kind: Any, path: Keys, found: Sequence[Any], source: Source, needed: str | None, registry: Registry
) -> UserError:
    fault = found[0]
    value = fault["input"]
    shown = None if isinstance(value, Mapping | list | BaseModel) else value
    if fault["type"] == "extra_forbidden":
        near = needed or _near(path[-1], _known_keys(kind, registry))
        hint = f"Did you mean `{near}`?" if near else "config/README.md lists every key"
        return UserError(NO_SUCH_KEY, value=value, remedy=hint.rstrip("."), **source.where(*path))
    if fault["type"] in ABSENT:
        key = _needed_key(fault, path)
        section = source.inside(*key[:-1]).content
        near = _near(key[-1], section) if fault["type"] != "missing" else None
        if near is not None:
            where = source.where(*key[:-1], near)
            return UserError(NO_SUCH_KEY, value=section[near], remedy=f"Did you mean `{key[-1]}`?", **where)
        remedy = "config/README.md says what it means"
        return UserError("this key is needed and not given", remedy=remedy, **source.where(*key))
    if fault["type"] == "union_tag_invalid":
        key = (*path, _discriminator(fault))
        given = value.get(key[-1]) if isinstance(value, Mapping) else getattr(value, key[-1], None)
        problem = f"must be one of {fault['ctx']['expected_tags']}"
        return UserError(problem, value=given, **source.where(*key))
    messages = dict.fromkeys(reason["msg"].removeprefix("Value error, ") for reason in found)
    problem = "; or ".join(message[:1].lower() + message[1:] for message in messages)
    return UserError(problem, value=shown, **source.where(*path))


def _path(content: Any, fault: Any) -> Keys:
    """Path of a fault in the content. Pydantic's own has names of kinds in it (`hub`, `[key]`, `list[str]`)."""
    *above, last = loc = fault["loc"] or (None,)
    if last is None:
        return ()
    if fault["type"].endswith("missing"):
        return (*_followed(content, tuple(above)), str(last))
    return _followed(content, tuple(loc))


def _followed(content: Any, loc: tuple[Any, ...]) -> Keys:
    """The longest way into the content along a location; parts that are not there are names of kinds."""
    if not loc:
        return ()
    head, rest = loc[0], loc[1:]
    ways = [_followed(content, rest)]
    if isinstance(content, Mapping) and head in content:
        ways.append((str(head), *_followed(content[head], rest)))
    if isinstance(content, list) and isinstance(head, int) and head < len(content):
        ways.append((str(head), *_followed(content[head], rest)))
    return max(ways, key=lambda way: (way[-1:] == (str(loc[-1]),), len(way)))


def _discriminator(fault: Any) -> str:
    return str(fault["ctx"]["discriminator"]).strip("'")


def _needed_key(fault: Any, path: Keys) -> Keys:
    return (*path, _discriminator(fault)) if fault["type"] == UNTAGGED else path


def _near(key: str, known: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(key, list(known), n=1)
    return found[0] if found else None


def _known_keys(kind: Any, registry: Registry) -> list[str]:
    """Every key of a section and of the sections inside it, for spelling hints."""
    schema = json_schema(kind, registry)
    keys: list[str] = []
    for part in [schema, *schema.get("$defs", {}).values()]:
        keys.extend(part.get("properties", {}))
    return keys


def without_repeats(errors: Iterable[UserError]) -> Iterator[UserError]:
    """The first fault of each key that was typed, however many recipes, setups, variants and cells share it."""
    seen: set[tuple[Any, ...]] = set()
    for error in errors:
        key = error.key if error.line is None else (error.key or "").rpartition(".")[2]
        value = None if error.problem == NO_SUCH_KEY else repr(error.value)  # a sweep gives one key several values
        mark = (str(error.file), error.line, key or error.problem, value)
        if mark not in seen:
            seen.add(mark)
            yield error
