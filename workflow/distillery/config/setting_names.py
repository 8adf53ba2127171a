"""Names of variants: a recipe's name with the settings that an arm changes, such as `mapd.alpha=0.25.round=3`.

Names stand in paths and tell results apart, so that two different settings never have one name:

- A setting is called by the shortest end of its path that means it alone: `objective.alpha` is `alpha`, and
  `train.lora.alpha` is `lora.alpha`. Where several paths share an end, the shallowest one gets it, and if several are
  equally shallow, none does. This depends on what can be set and not on what other experiments set, so that a new
  experiment renames nothing.
- A value is written as in YAML: `1`, `1.0`, `true`, `null`, `name`. A value that reads like another kind (the text
  `"1"`), holds characters that paths do not take, or is long, is a readable beginning and a digest.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from distillery.config.extensions import KnownObjective
from distillery.config.recipe import Recipe

Path = tuple[str, ...]

ANY = "*"
"""Stands in a path of the model for a name that the user gives, such as that of a source of rows."""

MAX_VALUE = 32
"""Characters of a value that is written out."""
MAX_SETTINGS = 96
"""Characters of all settings in a name. Longer ones end in a digest, since a name is one folder (255 bytes)."""
REST = "etc"
"""Label of that digest; no setting has this name."""

PLAIN = re.compile(r"[a-z0-9_][a-z0-9_-]*")
DIGESTED = re.compile(r".*-[0-9a-f]{10}")
OTHER_KIND = re.compile(r"-?[0-9_]+(e-?[0-9]+)?|true|false|null|nan|inf")


def flattened(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted path, with nested mappings taken apart and paths in order.

    >>> flattened({"train": {"lora": {"alpha": 1}}, "objective.alpha": 0})
    {'objective.alpha': 0, 'train.lora.alpha': 1}

    Raises:
        ValueError: A path is given twice, or lies inside another one that is given too.
    """
    found: dict[str, Any] = {}
    for path, value in _leaves(settings, ()):
        key = ".".join(path)
        if key in found:
            raise ValueError(f"{key} is given twice")
        found[key] = value
    for key in found:
        for other in found:
            if key.startswith(f"{other}."):
                raise ValueError(f"{key} lies inside {other}, which is given too")
    return dict(sorted(found.items()))


def _leaves(settings: Mapping[str, Any], above: Path) -> Iterator[tuple[Path, Any]]:
    for key, value in settings.items():
        path = (*above, *key.split("."))
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, path)
        else:
            yield path, value


@lru_cache
def setting_paths(objectives: tuple[type[BaseModel], ...]) -> frozenset[Path]:
    """Path of every key of a recipe and of the sections inside it; names that the user gives are `*`."""
    return frozenset(_paths(Recipe, (), objectives))


def _paths(annotation: Any, above: Path, objectives: Iterable[type[BaseModel]]) -> Iterator[Path]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            path = (*above, field.alias or name)
            yield path
            marked = any(isinstance(mark, KnownObjective) for mark in field.metadata)
            for inner in objectives if marked else [field.annotation]:
                yield from _paths(inner, path, objectives)
    elif get_origin(annotation) is dict:
        yield (*above, ANY)
        yield from _paths(get_args(annotation)[1], (*above, ANY), objectives)
    elif get_origin(annotation) in (Annotated, Union, UnionType):
        for part in get_args(annotation):
            yield from _paths(part, above, objectives)


class SettingNames:
    """What settings and variants are called.

    Args:
        known: Paths that a recipe can have (`setting_paths`).
        also: Dotted paths that arms set beside those, which are refused later.
    """

    def __init__(self, known: Iterable[Path], also: Iterable[str] = ()) -> None:
        self.model = frozenset(known)
        """Paths that a recipe can have."""
        known = set(self.model)
        known.update(tuple(path.split(".")) for path in also if pattern_of(tuple(path.split(".")), known) is None)
        self._known = frozenset(known)
        self._ends: dict[Path, list[Path]] = {}
        for path in known:
            for start in range(len(path)):
                self._ends.setdefault(path[start:], []).append(path)

    def label_of(self, path: str) -> str:
        """Shortest name of a setting that means it alone.

        >>> names = SettingNames({("objective", "alpha"), ("train", "lora", "alpha"), ("rows", "*", "degree")})
        >>> [names.label_of(path) for path in ("objective.alpha", "train.lora.alpha", "rows.teacher.degree")]
        ['alpha', 'lora.alpha', 'teacher-degree']
        """
        keys = tuple(path.split("."))
        pattern = pattern_of(keys, self._known)
        if pattern is None:
            return path
        if pattern[:2] == ("rows", ANY) and len(keys) == 3:
            return f"{keys[1]}-{keys[2]}"
        first = pattern.index(ANY) - 1 if ANY in pattern else len(keys) - 1
        for start in range(first, 0, -1):
            rivals = [other for other in self._ends[pattern[start:]] if other != pattern]
            if all(len(other) > len(pattern) for other in rivals):
                return ".".join(keys[start:])
        return path

    def variant(self, recipe: str, settings: Mapping[str, Any]) -> str:
        """Name of a recipe with settings; without settings it is the recipe's own.

        >>> names = SettingNames({("objective", "alpha"), ("pairs", "round")})
        >>> names.variant("mapd", {"pairs.round": 3, "objective.alpha": 0.25})
        'mapd.alpha=0.25.round=3'
        """
        flat = flattened(settings)
        parts = [f"{self.label_of(path)}={written(value)}" for path, value in flat.items()]
        if sum(len(part) + 1 for part in parts) <= MAX_SETTINGS:
            return ".".join([recipe, *parts])
        end = f"{REST}={_digest(flat)}"
        room = MAX_SETTINGS - len(end) - 1
        shown: list[str] = []
        for part in parts:
            room -= len(part) + 1
            if room < 0:
                break
            shown.append(part)
        return ".".join([recipe, *shown, end])


def pattern_of(keys: Path, known: Iterable[Path]) -> Path | None:
    """The path of the model that a path with names follows; keys of the model come before names."""
    fits = [
        path for path in known if len(path) == len(keys) and all(a in (ANY, b) for a, b in zip(path, keys, strict=True))
    ]
    return min(fits, key=lambda path: path.count(ANY), default=None)


def written(value: Any) -> str:
    """A value as it stands in names; different values are written differently.

    >>> [written(value) for value in (1, 1.0, True, None, 3e-5, "similarity")]
    ['1', '1.0', 'true', 'null', '3e-05', 'similarity']
    """
    if isinstance(value, str):
        plain = PLAIN.fullmatch(value) and not OTHER_KIND.fullmatch(value) and not DIGESTED.fullmatch(value)
        text = value if plain else ""
    elif isinstance(value, list | dict):
        text = ""
    else:
        text = json.dumps(value).lower().replace("+", "").replace("infinity", "inf")
    if text and len(text) <= MAX_VALUE:
        return text
    shown = re.sub(r"[^a-z0-9_]+", "-", (value if isinstance(value, str) else json.dumps(value)).lower()).strip("-")
    return f"{shown[:16].strip('-') or 'value'}-{_digest(value)}"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]
