"""Variants: a recipe that extends another, a sweep that derives named recipes, settings changed for one run."""

import copy
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from distillery.config.experiment import Arm
from distillery.config.setup import Setup
from distillery.errors import UserError


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`: mappings merge key by key, anything else replaces; None removes the key.

    >>> merged({"rows": {"teacher": 1, "mentor": 2}, "x": 1}, {"rows": {"mentor": None}})
    {'rows': {'teacher': 1}, 'x': 1}
    """
    result = dict(copy.deepcopy(base))
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def extended(
    name: str, recipes: Mapping[str, Any], errors: list[UserError], seen: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The raw content of a recipe with everything that it extends merged under it."""
    source = recipes[name]
    parent = source.content.get("extends")
    if parent is None:
        return dict(source.content)
    if parent not in recipes:
        errors.append(_unknown("recipe", parent, recipes, source.file, "extends"))
        return dict(source.content)
    if parent in (*seen, name):
        errors.append(UserError("recipes extend each other in a circle", file=source.file, key="extends", value=parent))
        return dict(source.content)
    base = extended(parent, recipes, errors, (*seen, name))
    objective = source.content.get("objective") or {}
    if "loss" in objective and objective["loss"] != (base.get("objective") or {}).get("loss"):
        base = {**base, "objective": {}}  # another loss has other settings: nothing of the old ones is kept
    return merged(base, source.content)


def set_path(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `content` with the value at a dotted path replaced.

    >>> set_path({"train": {"epochs": 3}}, "train.epochs", 5)
    {'train': {'epochs': 5}}
    """
    over: Any = value
    for key in reversed(path.split(".")):
        over = {key: over}
    return merged(content, over)


def arm_settings(arm: Arm) -> Iterator[dict[str, Any]]:
    """Each combination of an arm's fixed and swept settings."""
    for combination in itertools.product(*arm.sweep.values()):
        yield {**arm.set, **dict(zip(arm.sweep, combination, strict=True))}


def arm_variants(arm: Arm) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, settings) for each combination of an arm's settings and sweep.

    A variant's name tells its settings, so that it has its own path and two experiments share what they have in common:
    `mentor-kd.lambda=0.5`. The plain recipe, with no setting changed, keeps its name.
    """
    for settings in arm_settings(arm):
        yield variant_name(arm.recipe, settings), settings


def in_setup(content: Mapping[str, Any], setup: Setup, recipe: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Raw content of a recipe as it is carried out in a setup, with an arm's settings."""
    result = dict(content)
    if setup.train and result.get("train") is not None:
        result = merged(result, {"train": setup.train})
    result = merged(result, setup.recipes.get(recipe, {}))
    for path, value in settings.items():
        result = set_path(result, path, value)
    return {**result, "recipe": variant_name(recipe, settings)}


def round_before(content: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Settings of the round that comes before this one; None for a first round, and without rounds.

    >>> round_before({"pairs": {"round": 2}}, {"objective.alpha": 0.3, "pairs.round": 2})
    {'objective.alpha': 0.3, 'pairs.round': 1}
    """
    number = (content.get("pairs") or {}).get("round", 1)
    return {**settings, "pairs.round": number - 1} if isinstance(number, int) and number > 1 else None


def variant_name(recipe: str, settings: Mapping[str, Any]) -> str:
    """`mentor-kd` with `{"objective.lambda": 0.5}` is `mentor-kd.lambda=0.5`; of rows, the source is named too."""
    parts = []
    for path in sorted(settings):
        keys = path.split(".")
        label = "-".join(keys[1:]) if keys[0] == "rows" else keys[-1]
        parts.append(f"{label}={str(settings[path]).lower()}")
    return ".".join([recipe, *parts])


def apply_overrides(raw: dict, overrides: Mapping[str, Any], file: str, errors: list[UserError]) -> None:
    """Change declared settings for one run, in place: `recipes.fine-tune-cot.train.epochs: 1`."""
    for path, value in overrides.items():
        section, _, rest = path.partition(".")
        name = next(
            (name for name in sorted(raw.get(section, {}), key=len, reverse=True) if rest.startswith(f"{name}.")), None
        )
        if name is None:
            errors.append(
                UserError(
                    "does not name a declared thing",
                    file=file,
                    key=f"overrides.{path}",
                    value=value,
                    remedy=f"Write <section>.<name>.<key>, with a section out of {', '.join(sorted(raw))}",
                )
            )
            continue
        source = raw[section][name]
        raw[section][name] = type(source)(source.file, set_path(source.content, rest[len(name) + 1 :], value))


def _unknown(kind: str, name: str, known: Mapping[str, Any], file: str, key: str) -> UserError:
    return UserError(f"no such {kind}", file=file, key=key, value=name, remedy=f"Known: {', '.join(sorted(known))}")
