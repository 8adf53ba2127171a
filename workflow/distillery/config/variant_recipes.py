"""Every recipe and every swept variant of it, as each setup carries it out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from distillery.config.recipe import Recipe
from distillery.config.setting_names import SettingNames, flattened
from distillery.config.source import Source
from distillery.config.variants import arm_settings, in_setup, round_before, set_path, setting_layers
from distillery.errors import UserError

Validate = Callable[[Source, list[UserError]], Recipe | None]


@dataclass(frozen=True)
class Variant:
    """A validated recipe of a setup, with the places of its keys."""

    recipe: Recipe
    source: Source


@dataclass(frozen=True)
class Wanted:
    """A variant that some arm names."""

    base: str
    """The recipe that it changes."""
    settings: Mapping[str, Any]
    arm: Source
    setups: set[str]
    """Setups of the experiments with such an arm: a fault counts there."""


def carried_out(
    raw: Mapping[str, Mapping[str, Source]],
    parts: Mapping[str, Mapping[str, Any]],
    names: SettingNames,
    validate: Validate,
    errors: list[UserError],
) -> dict[str, dict[str, Variant]]:
    """Setup -> name in paths -> variant.

    A variant that only experiments of another setup name is left out where it does not fit.
    """
    wanted = _wanted(raw, parts, names, errors)
    found: dict[str, dict[str, Variant]] = {}
    for setup_name in parts["setups"]:
        setup, known = raw["setups"][setup_name], found.setdefault(setup_name, {})
        for name in parts["recipes"]:
            source = in_setup(raw["recipes"][name], setup, [], name, names.model, errors)
            made = validate(source, errors)
            if made is not None:
                known[name] = Variant(made, source)
        todo = [(name, variant, variant.settings) for name, variant in wanted.items() if variant.base in known]
        done: set[str] = set()
        for name, variant, settings in todo:  # grows: a round needs those before it, also a round that a recipe sets
            if name in done:
                continue
            done.add(name)
            layers = setting_layers(variant.arm, settings)
            faults = errors if setup_name in variant.setups else []
            source = in_setup(raw["recipes"][variant.base], setup, layers, name, names.model, faults)
            before = round_before(source.content, settings)
            if before is not None:
                earlier = names.variant(variant.base, before)
                todo.append((earlier, variant, before))
                source = Source(source.file, set_path(source.content, "pairs.after", earlier), source.places)
            made = validate(source, faults)
            if made is not None:
                known[name] = Variant(made, source)
    return found


def _wanted(
    raw: Mapping[str, Mapping[str, Source]],
    parts: Mapping[str, Mapping[str, Any]],
    names: SettingNames,
    errors: list[UserError],
) -> dict[str, Wanted]:
    """The variants that arms name, and the faults of arms that cannot be named."""
    wanted: dict[str, Wanted] = {}
    for file, experiment in parts["experiments"].items():
        source = raw["experiments"][file]
        for number, arm in enumerate(experiment.arms):
            at = source.inside("arms", str(number))
            if arm.recipe not in parts["recipes"]:
                remedy = f"Known: {', '.join(sorted(parts['recipes']))}"
                errors.append(UserError("no such recipe", value=arm.recipe, remedy=remedy, **at.where("recipe")))
                continue
            for key in sorted(set(arm.set) & set(arm.sweep)):
                remedy = "Keep one of them"
                errors.append(UserError("both set and swept", remedy=remedy, **at.where("sweep", key)))
            for settings in arm_settings(arm):
                try:
                    flat = flattened(settings)
                except ValueError as error:
                    errors.append(UserError(str(error), remedy="Keep one of them", **at.where()))
                    continue
                name = names.variant(arm.recipe, flat)
                variant = wanted.setdefault(name, Wanted(arm.recipe, settings, at, set()))
                variant.setups.add(experiment.setup)
                if (variant.base, repr(flattened(variant.settings))) != (arm.recipe, repr(flat)):
                    problem = f"{name} would also be the name of {variant.base} with {flattened(variant.settings)}"
                    errors.append(UserError(problem, remedy="Rename one of the recipes", **at.where()))
    return wanted
