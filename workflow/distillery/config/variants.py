"""Variants: a recipe that extends another, a sweep that derives named recipes, settings changed for one run."""

import copy
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from distillery.config.experiment import Arm
from distillery.config.setting_names import ANY, SettingNames, flattened, pattern_of
from distillery.config.source import Place, Source
from distillery.errors import UserError

Paths = frozenset[tuple[str, ...]]
"""Paths that a recipe can have (`setting_names.setting_paths`)."""


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


def laid_over(base: Source, over: Source, known: Paths, errors: list[UserError]) -> Source:
    """One section merged over another; the place of a key is where it was last set.

    A key that is removed and not there is a fault, unless it is an optional key of a recipe, which may be set or not.
    """
    for path in _removed(base.content, over.content, ()):
        if pattern_of(path, known) in (None, ("rows", ANY)):
            where = over.where(*path)
            errors.append(UserError("there is no such key to remove", remedy="Correct or drop it", **where))
    return Source(base.file, merged(base.content, over.content), {**base.places, **over.places})


def _removed(base: Any, over: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Paths that `over` removes and `base` does not have."""
    for key, value in over.items():
        inner = base.get(key) if isinstance(base, Mapping) else None
        if value is None and inner is None and not (isinstance(base, Mapping) and key in base):
            yield (*above, key)
        elif isinstance(value, Mapping):
            yield from _removed(inner, value, (*above, key))


def extended_recipes(recipes: Mapping[str, Source], known: Paths, errors: list[UserError]) -> dict[str, Source]:
    """Each recipe with everything that it extends merged under it, without those whose `extends` cannot be followed."""
    found: dict[str, Source | None] = {}
    for name in recipes:
        _extended(name, recipes, found, (), known, errors)
    return {name: source for name, source in found.items() if source is not None}


def _extended(
    name: str,
    recipes: Mapping[str, Source],
    found: dict[str, Source | None],
    below: tuple[str, ...],
    known: Paths,
    errors: list[UserError],
) -> Source | None:
    """One extended recipe; `below` are the recipes that extend it, whose own extension is not done."""
    if name in found:
        return found[name]
    source = recipes[name]
    parent = source.content.get("extends")
    where = source.where("extends")
    if parent is None:
        found[name] = source
        return source
    base = None
    if not isinstance(parent, str):
        errors.append(
            UserError("must be the name of one recipe", value=parent, remedy="Write `extends: name`", **where)
        )
    elif parent not in recipes:
        names = ", ".join(sorted(recipes))
        errors.append(UserError("no such recipe", value=parent, remedy=f"Known: {names}", **where))
    elif parent in (*below, name):
        remedy = "Let one of them extend none"
        errors.append(UserError("recipes extend each other in a circle", value=parent, remedy=remedy, **where))
    else:
        base = _extended(parent, recipes, found, (*below, name), known, errors)
    if base is not None and _loss(source) not in (None, _loss(base)):
        # Another loss has other settings: nothing of the old ones is kept.
        base = Source(base.file, {**base.content, "objective": {}}, base.places)
    found[name] = None if base is None else laid_over(base, source, known, errors)
    return found[name]


def _loss(source: Source) -> Any:
    objective = source.content.get("objective")
    return objective.get("loss") if isinstance(objective, Mapping) else None


def set_path(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `content` with the value at a dotted path replaced.

    >>> set_path({"train": {"epochs": 3}}, "train.epochs", 5)
    {'train': {'epochs': 5}}
    """
    return merged(content, _nested(path, value))


def _nested(path: str, value: Any) -> dict[str, Any]:
    over: Any = value
    for key in reversed(path.split(".")):
        over = {key: over}
    return dict(over)


def arm_settings(arm: Arm) -> Iterator[dict[str, Any]]:
    """Each combination of an arm's fixed and swept settings."""
    for combination in itertools.product(*arm.sweep.values()):
        yield {**arm.set, **dict(zip(arm.sweep, combination, strict=True))}


def arm_variants(arm: Arm, names: SettingNames) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, settings) for each combination of an arm's settings and sweep.

    A variant's name holds its settings, so that it has its own path and two experiments share what they have in common:
    `mentor-kd.lambda=0.5`. The plain recipe, with no setting changed, keeps its name. A setting is named also where its
    value is the recipe's own in this setup: a name depends on what an arm sets, not on other files.
    """
    for settings in arm_settings(arm):
        yield names.variant(arm.recipe, settings), settings


def setting_layers(arm: Source, settings: Mapping[str, Any]) -> list[Source]:
    """One layer for each setting of a variant, with the place where the arm sets it."""
    layers = []
    for path, value in settings.items():
        section = "sweep" if path in (arm.content.get("sweep") or {}) else "set"
        swept = arm.where(section, path, value=value if section == "sweep" else None)
        place = Place(swept["file"], swept["line"], swept["key"] or "")
        for inner, leaf in flattened({path: value}).items():
            keys = tuple(inner.split("."))
            typed = arm.places.get((section, path, *keys[path.count(".") + 1 :])) if section == "set" else None
            places = {keys[:length]: typed or place for length in range(len(keys) + 1)}
            layers.append(Source(place.file, _nested(inner, leaf), places))
    return layers


def in_setup(
    recipe: Source, setup: Source, layers: list[Source], name: str, known: Paths, errors: list[UserError]
) -> Source:
    """Raw content of a recipe as it is carried out in a setup, with an arm's settings, under the variant's name."""
    plain_name = recipe.content["recipe"]
    result = recipe
    train = setup.inside("train")
    if train.content and result.content.get("train") is not None:
        result = laid_over(result, train.under("train"), known, errors)
    for layer in (setup.inside("recipes", plain_name), *layers):
        if layer.content:
            result = laid_over(result, layer, known, errors)
    return Source(result.file, {**result.content, "recipe": name}, result.places)


def round_before(content: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Settings of the round that comes before this one; None for a first round, and without rounds.

    >>> round_before({"pairs": {"round": 2}}, {"objective.alpha": 0.3, "pairs.round": 2})
    {'objective.alpha': 0.3, 'pairs.round': 1}
    """
    pairs = content.get("pairs")
    number = pairs.get("round", 1) if isinstance(pairs, Mapping) else 1
    if type(number) is not int or number <= 1:
        return None
    return dict(sorted({**flattened(settings), "pairs.round": number - 1}.items()))


def apply_overrides(raw: dict[str, dict[str, Source]], settings: Source, known: Paths, errors: list[UserError]) -> None:
    """Change declared settings for one run, in place: `recipes.fine-tune-cot.train.epochs: 1`."""
    overrides = settings.content.get("overrides") or {}
    for path, value in overrides.items():
        section, _, rest = path.partition(".")
        named = (name for name in sorted(raw.get(section, {}), key=len, reverse=True) if rest.startswith(f"{name}."))
        name = next(named, None)
        place = settings.place("overrides", path)
        if name is None:
            errors.append(
                UserError(
                    "does not name a declared thing",
                    value=value,
                    remedy=f"Write <section>.<name>.<key>, with a section out of {', '.join(sorted(raw))}",
                    **place.where(),
                )
            )
            continue
        inner = rest[len(name) + 1 :]
        keys = tuple(inner.split("."))
        places = {keys[:length]: place for length in range(1, len(keys) + 1)}
        layer = Source(place.file, _nested(inner, value), places)
        raw[section][name] = laid_over(raw[section][name], layer, known, errors if section == "recipes" else [])
