"""Read and cross-check all declarative files: what does not fit together is refused before a job runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from distillery.config.base import NAME_PATTERN, Name
from distillery.config.checks import check_workspace
from distillery.config.committee import Committee
from distillery.config.experiment import Experiment
from distillery.config.extensions import Registry
from distillery.config.faults import explained, without_repeats
from distillery.config.model import Model
from distillery.config.needs import missing_here
from distillery.config.prompt import Prompt
from distillery.config.recipe import Recipe
from distillery.config.sampler import Sampler
from distillery.config.setting_names import SettingNames, flattened, setting_paths
from distillery.config.settings import Settings
from distillery.config.setup import Setup
from distillery.config.source import Place, Source, not_plain, read_source
from distillery.config.task import Task
from distillery.config.variant_recipes import carried_out
from distillery.config.variants import apply_overrides, extended_recipes
from distillery.config.workspace import Workspace
from distillery.errors import UserError, UserErrors

FOLDERS: dict[str, tuple[str, type[BaseModel]]] = {
    "tasks": ("task", Task),
    "prompts": ("prompt", Prompt),
    "samplers": ("sampler", Sampler),
    "committees": ("committee", Committee),
    "recipes": ("recipe", Recipe),
    "experiments": ("experiment", Experiment),
}


def load_workspace(
    settings: Mapping[str, Any],
    root: Path = Path("config"),
    settings_file: str | None = None,
    *,
    registry: Registry,
) -> Workspace:
    """Read every file under `root`, apply `overrides`, validate and cross-check.

    Local files, keys of endpoints and optional packages are needed only by what this run makes: they are refused for
    the experiments of `settings`, and for others `Workspace.not_runnable` names them.

    Args:
        settings: The run's settings as Snakemake merged them (`config.yaml`, `--configfile`, `--config`).
        root: Folder that holds `models.yaml`, `setups.yaml`, `tasks/`, ...
        settings_file: File that `settings` come from; `config.yaml` of the root if not given.
        registry: The extensions that settings may name; `distillery.registry.load_workspace` gives all that there are.

    Raises:
        UserErrors: All faults that were found, each once, with file, line, key, value and remedy.
    """
    errors: list[UserError] = []
    for path, problem in not_plain(settings):
        file, remedy = settings_file or Path(root, "config.yaml"), "Write texts, numbers, lists and maps"
        errors.append(UserError(problem, file=file, key=".".join(path), remedy=remedy))
    _refuse(errors)
    run_source = _settings_source(settings, Path(settings_file or Path(root, "config.yaml")), errors)
    known = setting_paths(tuple(registry.objectives.values()))
    run = _validate(Settings, run_source, errors, registry)
    raw = _read_all(Path(root), errors)
    _refuse(errors)
    assert run is not None
    apply_overrides(raw, run_source, known, errors)
    _check_names(raw, errors)
    _refuse(errors)
    raw["recipes"] = extended_recipes(raw["recipes"], known, errors)
    kinds: list[tuple[str, Any]] = [*((folder, model) for folder, (_, model) in FOLDERS.items())]
    parts: dict[str, dict[str, Any]] = {}
    for section, kind in [*kinds, ("setups", Setup), ("models", Model)]:
        made = {name: _validate(kind, source, errors, registry) for name, source in raw[section].items()}
        parts[section] = {name: value for name, value in made.items() if value is not None}
    _refuse(errors)
    names = SettingNames(
        known,
        (path for experiment in parts["experiments"].values() for arm in experiment.arms for path in _paths_of(arm)),
    )
    variants = carried_out(
        raw, parts, names, lambda source, faults: _validate(Recipe, source, faults, registry), errors
    )
    _refuse(errors)
    workspace = Workspace(
        settings=run,
        names=names,
        registry=registry,
        variants={
            setup: {name: variant.recipe for name, variant in known.items()} for setup, known in variants.items()
        },
        sources={"settings": {"": run_source}, **raw},
        variant_sources={
            setup: {name: variant.source for name, variant in known.items()} for setup, known in variants.items()
        },
        files={section: {name: source.file for name, source in raw[section].items()} for section in raw},
        **parts,
    )
    errors.extend(check_workspace(workspace))
    _refuse(errors)
    errors.extend(error for name in run.experiments for error in missing_here(workspace, name))
    _refuse(errors)
    return workspace


def _refuse(errors: list[UserError]) -> None:
    if errors:
        raise UserErrors(list(without_repeats(errors)))


def _paths_of(arm: Any) -> list[str]:
    """Dotted paths of an arm's settings; an arm that gives one twice is refused later, with its place."""
    paths: list[str] = []
    for settings in [arm.set, *({path: value} for path, values in arm.sweep.items() for value in values)]:
        try:
            paths.extend(flattened(settings))
        except ValueError:
            continue
    return paths


def _settings_source(settings: Mapping[str, Any], file: Path, errors: list[UserError]) -> Source:
    """The run's settings with their places: a value that the file does not have comes from the command line."""
    declared = read_source(file, errors) if file.exists() else None
    root = Place(str(file), None, "")
    places: dict[tuple[str, ...], Place] = {(): root}
    for key, value in settings.items():
        inner: dict[tuple[str, ...], Any] = {(str(key),): value}
        if key == "overrides" and isinstance(value, Mapping):
            inner |= {("overrides", str(path)): change for path, change in value.items()}
        for path, given in inner.items():
            at: Any = declared.content if declared is not None else {}
            for part in path:
                at = at.get(part) if isinstance(at, dict) else None
            if declared is not None and path in declared.places and at == given:
                places |= {keys: place for keys, place in declared.places.items() if keys[: len(path)] == path}
            elif path not in places:
                place = Place("settings of this run (--config, --configfile)", None, ".".join(path))
                places[path] = place if file.is_file() else Place(str(file), None, ".".join(path))
    content = {str(key): value for key, value in settings.items()}
    if isinstance(content.get("overrides"), Mapping):
        content["overrides"] = {str(path): value for path, value in content["overrides"].items()}
    return Source(str(file), content, places)


def _read_all(root: Path, errors: list[UserError]) -> dict[str, dict[str, Source]]:
    raw: dict[str, dict[str, Source]] = {}
    for folder in FOLDERS:
        raw[folder] = {}
        for path in sorted((root / folder).glob("*.yml")):
            errors.append(UserError("is not read", file=path, remedy=f"Rename it to {path.stem}.yaml"))
        for path in sorted((root / folder).glob("*.yaml")):
            source = read_source(path, errors)
            if source is not None:
                raw[folder][path.stem] = source
    for section in ("models", "setups"):
        raw[section] = {}
        whole = read_source(root / f"{section}.yaml", errors)
        for name, content in (whole.content if whole is not None else {}).items():
            assert whole is not None
            if not isinstance(content, dict):
                errors.append(UserError("must be a mapping", value=content, **whole.where(name)))
                continue
            raw[section][name] = whole.inside(name)
    return raw


def _check_names(raw: dict[str, dict[str, Source]], errors: list[UserError]) -> None:
    """A file is named as what it declares; names match the pattern. A name that is left out is found later."""
    for folder, (key, _) in FOLDERS.items():
        for stem, source in raw[folder].items():
            name = source.content.get(key, stem)
            if name != stem:
                remedy = f"Write `{key}: {stem}`, or rename the file"
                problem = f"the name must be the file's own, {stem!r}"
                errors.append(UserError(problem, value=name, remedy=remedy, **source.where(key)))
    for section in ("models", "setups"):
        for name, source in raw[section].items():
            try:
                TypeAdapter(Name).validate_python(name)
            except ValidationError:
                problem = f"names must match {NAME_PATTERN}, as they stand in paths"
                errors.append(UserError(problem, **source.place().where()))


def _validate(kind: Any, source: Source, errors: list[UserError], registry: Registry) -> Any | None:
    """Validate one section; append one error for each fault."""
    try:
        return TypeAdapter(kind).validate_python(source.content, context=registry)
    except ValidationError as error:
        errors.extend(explained(kind, error, source, registry))
    return None
