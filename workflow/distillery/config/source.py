"""A declarative file as it is read: its values, and the line where each of them was typed.

Sections are merged before they are validated (`extends`, a setup's `train`, an arm's settings). The places are merged
with them, so that a fault in a merged section names the file and line where the offending key was last set.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from distillery.errors import UserError

MAX_VALUES = 100_000
"""Values in one file, with aliases expanded. Nine lines of nested aliases can stand for a billion values."""

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


def read_source(path: Path, errors: list[UserError]) -> Source | None:
    """Read a YAML file that holds a mapping; append one error and give None if it cannot be read."""
    file = str(path)

    def fault(problem: str, line: int | None = None, remedy: str | None = None) -> None:
        errors.append(UserError(problem, file=file, line=line, remedy=remedy))

    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            fault("the file is empty", remedy="Declare what it is named for, or delete it")
        elif not isinstance(node, yaml.MappingNode):
            fault("must hold a mapping of keys to values", node.start_mark.line + 1, "Write `key: value` lines")
        else:
            places: dict[Keys, Place] = {(): Place(file, None, "")}
            return Source(file, _Builder(loader, file, places).build(node, ()), places)
    except FileNotFoundError:
        fault("no such file", remedy="Restore it, or run from the folder of the Snakefile")
    except OSError as error:
        fault(f"cannot be read: {error.strerror or error}")
    except UnicodeDecodeError as error:
        fault("not a UTF-8 text", raw[: error.start].count(b"\n") + 1, "Save the file as UTF-8")
    except RecursionError:
        fault("nested too deeply", remedy="Flatten it")
    except _Fault as error:
        fault(error.problem, error.line, error.remedy)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(f"{error.problem or error.context}".split())
        tab = "'\\t'" in problem
        fault(
            "a tab where YAML wants spaces" if tab else f"not valid YAML: {problem}",
            None if mark is None else mark.line + 1,
            "Replace tabs by spaces" if tab else "Correct the syntax; texts with `: `, `{` or `#` need quotes",
        )
    except yaml.YAMLError as error:
        fault(f"not valid YAML: {' '.join(str(error).split())}")
    return None


class _Builder:
    """Builds values from the nodes of a file and notes where each was typed."""

    def __init__(self, loader: yaml.SafeLoader, file: str, places: dict[Keys, Place]) -> None:
        self._loader, self._file, self._places = loader, file, places
        self._count = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node, path: Keys) -> Any:
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
        try:
            value = self._loader.construct_object(node)
        except ValueError as error:
            raise _Fault(f"not valid YAML: {error}", node) from None
        if not isinstance(value, str | int | float | bool | None):
            raise _Fault(f"a value of the kind {type(value).__name__}", node, "Write a text, a number, a list or a map")
        return value
