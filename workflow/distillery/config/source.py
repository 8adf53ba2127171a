"""A declarative file as it is read: its values, and the line where each of them was typed.

Sections are merged before they are validated (`extends`, a setup's `train`, an arm's settings). The places are merged
with them, so that a fault in a merged section names the file and line where the offending key was last set.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from distillery.errors import UserError
from distillery.foreign import read_text

MAX_BYTES = 2**19
"""Bytes of one file; PyYAML reads some ten thousand a second."""

MAX_VALUES = 100_000
"""Values in one file, with aliases expanded. Nine lines of nested aliases can stand for a billion values."""

NUMBER_TAGS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}

_OTHER_BASE = re.compile(r"[-+]?0[0-9_]+$|.*:")
"""YAML 1.1 reads 010 as 8, and 1:30 as 90."""

PLAIN_TAGS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


@dataclass(frozen=True)
class Place:
    """Where a key was typed."""

    file: str
    line: int | None
    key: str
    """Dotted path in that file."""

    def where(self) -> dict[str, Any]:
        """As arguments of a UserError."""
        return {"file": self.file, "line": self.line, "key": self.key or None}


Keys = tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """A declared section before validation.

    Args:
        file: The file that declares it.
        content: Its raw values.
        places: Path of keys in `content` -> where it was typed; `()` is the section itself. Places of keys that a later
            layer removed are kept: they say why a key is missing.
    """

    file: str
    content: dict[str, Any]
    places: Mapping[Keys, Place] = field(default_factory=dict)

    def place(self, *path: str) -> Place:
        """Where a key was typed; of a key that is not there, the section that lacks it."""
        for length in range(len(path), -1, -1):
            found = self.places.get(path[:length])
            if found is not None:
                return Place(found.file, found.line, ".".join(filter(None, [found.key, *path[length:]])))
        return Place(self.file, None, ".".join(path))

    def where(self, *path: str, value: Any = None) -> dict[str, Any]:
        """Place of a key as arguments of a UserError; with `value`, of the first item that is this value."""
        for inner in self.places if value is not None else ():
            if inner[: len(path)] == path and inner != path and _at(self.content, inner) == value:
                return {**self.place(*inner).where(), "key": self.place(*path).key}
        return self.place(*path).where()

    def inside(self, *path: str) -> "Source":
        """The section at a path; an empty one if there is none."""
        content = _at(self.content, path)
        places = {keys[len(path) :]: place for keys, place in self.places.items() if keys[: len(path)] == path}
        return Source(self.file, content if isinstance(content, dict) else {}, places)

    def under(self, *path: str) -> "Source":
        """The same section as the inner one of an otherwise empty section."""
        content: dict[str, Any] = self.content
        for key in reversed(path):
            content = {key: content}
        return Source(self.file, content, {(*path, *keys): place for keys, place in self.places.items()})


def _at(content: Any, path: Keys) -> Any:
    for key in path:
        if isinstance(content, dict):
            content = content.get(key)
        elif isinstance(content, list) and key.isdigit() and int(key) < len(content):
            content = content[int(key)]
        else:
            return None
    return content


class _Loader(yaml.SafeLoader):
    """SafeLoader with the floats of YAML 1.2: plain SafeLoader reads `1e-4` as a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


class _Fault(Exception):
    def __init__(self, problem: str, node: yaml.Node, remedy: str | None = None) -> None:
        super().__init__(problem)
        self.problem, self.line, self.remedy = problem, node.start_mark.line + 1, remedy
        self.value = node.value if isinstance(node, yaml.ScalarNode) else None
        self.key: str | None = None


def read_source(path: Path, errors: list[UserError]) -> Source | None:
    """Read a YAML file that holds a mapping; append one error and give None if it cannot be read."""
    file = str(path)

    def fault(problem: str, line: int | None = None, remedy: str | None = None) -> None:
        errors.append(UserError(problem, file=file, line=line, remedy=remedy))

    try:
        text = read_text(path, file, limit=MAX_BYTES)
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            fault("the file is empty", remedy="Declare what it is named for, or delete it")
        elif not isinstance(node, yaml.MappingNode):
            fault("must hold a mapping of keys to values", node.start_mark.line + 1, "Write `key: value` lines")
        else:
            places: dict[Keys, Place] = {(): Place(file, None, "")}
            return Source(file, _Builder(loader, file, places).build(node, ()), places)
    except UserError as error:
        errors.append(error)
    except RecursionError:
        fault("nested too deeply", remedy="Flatten it")
    except _Fault as error:
        where = {"key": error.key, "value": error.value, "line": error.line}
        errors.append(UserError(error.problem, file=file, remedy=error.remedy, **where))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(f"{error.problem or error.context}".split())
        tab = "'\\t'" in problem
        fault(
            "a tab where YAML wants spaces" if tab else f"not valid YAML: {problem}",
            None if mark is None else mark.line + 1,
            "Replace tabs by spaces" if tab else "Correct the syntax; texts with `: `, `{` or `#` need quotes",
        )
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        fault(f"not valid YAML: the character {chr(error.character)!a}", line, "Remove it, or write it in quotes")
    except (yaml.YAMLError, ValueError) as error:
        fault(f"not valid YAML: {' '.join(str(error).split())}", remedy="Correct the syntax")
    return None


class _Builder:
    """Builds values from the nodes of a file and notes where each was typed."""

    def __init__(self, loader: yaml.SafeLoader, file: str, places: dict[Keys, Place]) -> None:
        self._loader, self._file, self._places = loader, file, places
        self._count = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node, path: Keys) -> Any:
        try:
            return self._built(node, path)
        except _Fault as fault:
            fault.key = fault.key or ".".join(path) or None
            raise

    def _built(self, node: yaml.Node, path: Keys) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise _Fault(f"its aliases stand for more than {MAX_VALUES} values", node, "Write fewer nested aliases")
        if not isinstance(node, yaml.ScalarNode) and node.tag not in PLAIN_TAGS:
            raise _Fault(f"the tag {node.tag} is not allowed here", node, "Remove it")
        if id(node) in self._open:
            raise _Fault("an alias inside the value that it stands for", node, "Write the inner value out")
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self._item(item, (*path, str(place))) for place, item in enumerate(node.value)]
            return self._scalar(node)
        finally:
            self._open.discard(id(node))

    def _item(self, node: yaml.Node, path: Keys) -> Any:
        self._places[path] = self._place(node, path)
        return self.build(node, path)

    def _place(self, node: yaml.Node, path: Keys) -> Place:
        return Place(self._file, node.start_mark.line + 1, ".".join(path))

    def _mapping(self, node: yaml.MappingNode, path: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                layers = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for layer in reversed(layers):
                    merged = self.build(layer, path)
                    if not isinstance(merged, dict):
                        raise _Fault("`<<` takes a mapping", key_node, "Name an anchor of a mapping")
                    found.update(merged)
        typed: set[str] = set()
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise _Fault("a key must be a text", key_node, "Put it into quotes")
            if key in typed:
                raise _Fault(f"the key {key!r} is given twice", key_node, "Keep one of them")
            typed.add(key)
            self._places[(*path, key)] = self._place(key_node, (*path, key))
            found[key] = self.build(value_node, (*path, key))
        return found

    def _scalar(self, node: yaml.Node) -> Any:
        if node.tag == "tag:yaml.org,2002:timestamp":
            return node.value  # dates are texts, such as the version of a model
        if node.tag in NUMBER_TAGS and _OTHER_BASE.match(node.value):
            remedy = "Write a decimal number, or put a text into quotes"
            raise _Fault("a number to base 8 or 60 in YAML", node, remedy)
        try:
            value = self._loader.construct_object(node)
        except ValueError as error:
            raise _Fault(f"not valid YAML: {error}", node) from None
        if problem := _not_plain(value):
            raise _Fault(problem, node, "Write a text, a number, a list or a map")
        return value


def _not_plain(value: Any) -> str | None:
    """Why a value that is no list and no mapping cannot be a setting; None where it can."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "half of a surrogate pair, which is no character"
    elif isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no number that a setting can have"
    elif isinstance(value, int) and value.bit_length() > 63:
        return "a whole number of more than 63 bits"
    elif not isinstance(value, int | float | None):
        return f"a value of the kind {type(value).__name__}"
    return None


def not_plain(value: Any) -> Iterator[tuple[Keys, str]]:
    """Each place in values that were read elsewhere that holds what no setting can be, and why.

    Snakemake reads the run's own settings. Aliases of YAML are one object there, and a few lines stand for billions of
    values: after `MAX_VALUES` of them the walk ends, and the place where it ended is the last fault.
    """
    stack: list[tuple[Keys, Any]] = [((), value)]
    count = 0
    while stack:
        path, inner = stack.pop()
        count += 1
        if count > MAX_VALUES or len(path) > 100:
            yield path[:1], f"stands for more than {MAX_VALUES} values, or is nested more than 100 deep"
            return
        if isinstance(inner, Mapping):
            for key in inner:
                problem = "a key must be a text" if not isinstance(key, str) else _not_plain(key)
                if problem:
                    yield (*path, repr(key)), problem
            stack.extend(((*path, str(key)), item) for key, item in inner.items())
        elif isinstance(inner, list | tuple):
            stack.extend(((*path, str(place)), item) for place, item in enumerate(inner))
        elif problem := _not_plain(inner):
            yield path, problem
