"""Read and cross-check all declarative files: what does not fit together is refused before a job runs."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from distillery.config.base import NAME_PATTERN, Name
from distillery.config.checks import check_workspace
from distillery.config.committee import Committee
from distillery.config.experiment import Experiment
from distillery.config.extensions import Registry, json_schema
from distillery.config.model import Model
from distillery.config.prompt import Prompt
from distillery.config.recipe import Recipe
from distillery.config.sampler import Sampler
from distillery.config.settings import Settings
from distillery.config.setup import Setup
from distillery.config.task import Task
from distillery.config.variants import (
    apply_overrides,
    arm_variants,
    extended,
    in_setup,
    round_before,
    set_path,
    variant_name,
)
from distillery.config.workspace import Workspace
from distillery.errors import UserError, UserErrors

T = TypeVar("T", bound=BaseModel)

KINDS = {"hub", "local", "wheel", "pruned", "random", "api"}
"""Kinds of models: pydantic puts them into the path of a fault, and the file does not have them there."""

FOLDERS: dict[str, tuple[str, type[BaseModel]]] = {
    "tasks": ("task", Task),
    "prompts": ("prompt", Prompt),
    "samplers": ("sampler", Sampler),
    "committees": ("committee", Committee),
    "recipes": ("recipe", Recipe),
    "experiments": ("experiment", Experiment),
}


@dataclass(frozen=True)
class Source:
    """A declared thing before validation: its file and its raw content."""

    file: str
    content: dict[str, Any]


def load_workspace(
    settings: Mapping[str, Any],
    root: Path = Path("config"),
    settings_file: str = "config",
    *,
    registry: Registry,
) -> Workspace:
    """Read every file under `root`, apply `overrides`, validate and cross-check.

    Args:
        settings: The run's settings as Snakemake merged them (`config.yaml`, `--configfile`, `--config`).
        root: Folder that holds `models.yaml`, `setups.yaml`, `tasks/`, ...
        settings_file: How messages about `settings` name their origin.
        registry: The extensions that settings may name; `distillery.registry.load_workspace` gives all that there are.

    Raises:
        UserErrors: All faults that were found, each with file, key, value and remedy.
    """
    errors: list[UserError] = []
    run = _validate(Settings, dict(settings), settings_file, errors, registry)
    raw = _read_all(Path(root), errors)
    if errors or run is None:
        raise UserErrors(errors)
    apply_overrides(raw, run.overrides, settings_file, errors)
    raw["recipes"] = {
        name: Source(source.file, extended(name, raw["recipes"], errors)) for name, source in raw["recipes"].items()
    }
    parts: dict[str, dict[str, Any]] = {}
    for section, kind in [*((folder, model) for folder, (_, model) in FOLDERS.items()), ("setups", Setup)]:
        parts[section] = _validate_all(kind, raw[section], errors, registry)
    parts["models"] = _validate_all(TypeAdapter(Model), raw["models"], errors, registry)
    if errors:
        raise UserErrors(errors)
    files = {section: {name: source.file for name, source in raw[section].items()} for section in raw}
    variants = _variants(raw, parts, files, errors, registry)
    workspace = Workspace(settings=run, files=files, variants=variants, registry=registry, **parts)
    if not errors:
        errors.extend(check_workspace(workspace))
    if errors:
        raise UserErrors(errors)
    return workspace


def _variants(
    raw: dict, parts: dict, files: dict, errors: list[UserError], registry: Registry
) -> dict[str, dict[str, Recipe]]:
    """Every recipe and every swept variant of it, as each setup carries it out: setup -> name -> recipe."""
    wanted: dict[str, tuple[str, dict[str, Any], str]] = {
        name: (name, {}, files["recipes"][name]) for name in parts["recipes"]
    }
    for name, experiment in parts["experiments"].items():
        for arm in experiment.arms:
            if arm.recipe not in parts["recipes"]:
                known = ", ".join(sorted(parts["recipes"]))
                errors.append(
                    UserError(
                        "no such recipe",
                        file=files["experiments"][name],
                        key="arms",
                        value=arm.recipe,
                        remedy=f"Known: {known}",
                    )
                )
                continue
            for variant, settings in arm_variants(arm):
                wanted.setdefault(variant, (arm.recipe, settings, files["experiments"][name]))
    found: dict[str, dict[str, Recipe]] = {}
    for setup_name, setup in parts["setups"].items():
        found[setup_name] = {}
        todo = list(wanted.items())
        for variant, (recipe, settings, file) in todo:  # grows: a round needs those before it
            if variant in found[setup_name]:
                continue
            content = in_setup(raw["recipes"][recipe].content, setup, recipe, settings)
            before = round_before(content, settings)
            if before is not None:
                todo.append((variant_name(recipe, before), (recipe, before, file)))
                content = set_path(content, "pairs.after", variant_name(recipe, before))
            made = _validate(Recipe, content, file, errors, registry, prefix=f"{variant} in setup {setup_name}")
            if made is not None:
                found[setup_name][variant] = made
    return found


def _read_all(root: Path, errors: list[UserError]) -> dict[str, dict[str, Source]]:
    raw: dict[str, dict[str, Source]] = {}
    for folder, (key, _) in FOLDERS.items():
        raw[folder] = {}
        for path in sorted((root / folder).glob("*.yaml")):
            content = _read_yaml(path, errors)
            name = content.get(key)
            if name != path.stem:
                errors.append(
                    UserError(
                        f"the name must be the file's own, {path.stem!r}",
                        file=path,
                        key=key,
                        value=name,
                        remedy=f"Write `{key}: {path.stem}`, or rename the file",
                    )
                )
            raw[folder][path.stem] = Source(str(path), content)
    for section in ("models", "setups"):
        path = root / f"{section}.yaml"
        raw[section] = {}
        for name, content in _read_yaml(path, errors).items():
            if not isinstance(content, dict):
                errors.append(UserError("must be a mapping", file=path, key=str(name), value=content))
                continue
            raw[section][str(name)] = Source(str(path), content)
            _check_name(str(name), path, errors)
    return raw


def _check_name(name: str, path: Path, errors: list[UserError]) -> None:
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        errors.append(UserError(f"names must match {NAME_PATTERN}, as they stand in paths", file=path, key=name))


def _read_yaml(path: Path, errors: list[UserError]) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except FileNotFoundError:
        errors.append(
            UserError("no such file", file=path, remedy="Restore it, or run from the folder of the Snakefile")
        )
        return {}
    except yaml.YAMLError as error:
        errors.append(UserError(f"not valid YAML: {' '.join(str(error).split())}", file=path))
        return {}
    if not isinstance(content, dict):
        errors.append(UserError("must hold a mapping of keys to values", file=path))
        return {}
    return content


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice: plain YAML keeps the last and says nothing."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _validate_all(kind: Any, sources: dict[str, Source], errors: list[UserError], registry: Registry) -> dict[str, Any]:
    found = {}
    for name, source in sources.items():
        prefix = name if kind is Setup or not _is_model(kind) else ""
        value = _validate(kind, source.content, source.file, errors, registry, prefix=prefix)
        if value is not None:
            found[name] = value
    return found


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _validate(
    kind: Any, content: dict, file: str, errors: list[UserError], registry: Registry, prefix: str = ""
) -> Any | None:
    """Validate one section; append one error per fault, each naming its key and value."""
    check: Callable[..., Any] = kind.model_validate if _is_model(kind) else kind.validate_python
    try:
        return check(content, context=registry)
    except ValidationError as error:
        for fault in error.errors():
            where = [
                str(part) for part in fault["loc"] if part not in {"hub", "local", "wheel", "pruned", "random", "api"}
            ]
            key = ".".join(([prefix] if prefix else []) + where)
            errors.append(_explain(kind, fault, file, key, registry))
    return None


def _explain(kind: Any, fault: Any, file: str, key: str, registry: Registry) -> UserError:
    value = fault["input"]
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(fault["loc"][-1]), _known_keys(kind, registry), n=1)
        hint = f"Did you mean `{near[0]}`?" if near else "config/README.md lists every key"
        return UserError("no such key", file=file, key=key, value=value, remedy=hint.rstrip("."))
    if fault["type"] == "missing":
        return UserError(
            "this key is needed and not given", file=file, key=key, remedy="config/README.md says what it means"
        )
    message = fault["msg"].removeprefix("Value error, ")
    shown = None if isinstance(value, dict | list) else value
    return UserError(message[:1].lower() + message[1:], file=file, key=key or None, value=shown)


def _known_keys(kind: Any, registry: Registry) -> list[str]:
    """Every key of a section and of the sections inside it, for spelling hints."""
    schema = json_schema(kind, registry) if _is_model(kind) else kind.json_schema()
    keys: list[str] = []
    for part in [schema, *schema.get("$defs", {}).values()]:
        keys.extend(part.get("properties", {}))
    return keys
