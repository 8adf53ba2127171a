"""What the experiments of a run need from this machine: local files, keys of endpoints, optional packages.

Declared settings may be sound and yet name what is not here. That is a fault of the run that needs it, and of no other:
the shipped replay of MAPD's exchange names files that each user fetches.
"""

import importlib.util
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from distillery.config.committee import Committee
from distillery.config.model import ApiModel, LocalModel, PrunedModel
from distillery.config.task import FileSource, ReasoningGymSource
from distillery.errors import UserError

if TYPE_CHECKING:
    from distillery.config.workspace import TableCell, Workspace

RELEASED_KINDS = ("false", "feedback", "rationale")
"""Parts of a released exchange, one file each."""


def missing_here(workspace: "Workspace", experiment: str) -> list[UserError]:
    """What an experiment needs and this machine lacks; empty if it can be run. Paths are relative to this folder."""
    faults: list[UserError] = []
    setup = workspace.experiments[experiment].setup
    cells = list(workspace.cells(experiment))
    for task in dict.fromkeys(cell.task for cell in cells):
        faults.extend(_task(workspace, task))
    committees: dict[str, set[tuple[str, str]]] = {}
    reviewed: set[str] = set()
    for cell in cells:
        for recipe in dict.fromkeys(_recipes_behind(workspace, cell, setup)):
            pairs = workspace.recipe(recipe, setup).pairs
            if pairs is not None:
                like = workspace.recipe(pairs.size_of, setup).pairs if pairs.size_of else None
                name = workspace.committee_of(recipe, setup).committee
                student = workspace.committee_student(recipe, setup, cell.model, cell.seed)
                committees.setdefault(name, set()).add((cell.task, student))
                if pairs.reviewed or (like is not None and like.reviewed):
                    reviewed.add(name)
    for model in sorted(set(_models(workspace, cells, setup, committees, reviewed))):
        faults.extend(_model(workspace, model))
    for name, students in committees.items():
        committee = workspace.committees[name]
        faults.extend(_released(workspace, committee))
        faults.extend(_sheets(workspace, committee, sorted(students)) if name in reviewed else ())
    return faults


def _recipes_behind(workspace: "Workspace", cell: "TableCell", setup: str) -> list[str]:
    """The recipe of a cell, and those whose results it is made from."""
    found = [cell.recipe]
    for name in found:  # grows
        recipe = workspace.recipe(name, setup)
        others = [
            recipe.weights_of,
            recipe.mentor.trained_by if recipe.mentor else None,
            recipe.train.match_updates_of if recipe.train else None,
            recipe.pairs.after if recipe.pairs else None,
        ]
        found.extend(other for other in others if other is not None and other not in found)
    return found


def _models(
    workspace: "Workspace", cells: Iterable["TableCell"], setup: str, committees: Iterable[str], reviewed: set[str]
) -> Iterator[str]:
    """Every model that the cells load or request."""
    own = workspace.setups[setup]
    for cell in cells:
        yield from _with_parent(workspace, cell.model)
        for name in _recipes_behind(workspace, cell, setup):
            recipe = workspace.recipe(name, setup)
            if recipe.mentor is not None:
                yield from _with_parent(workspace, workspace.mentor_model(name, setup, cell.model))
            keys = {workspace.registry.row_sources[rows.source].sampler for rows in (recipe.rows or {}).values()}
            for key, sampler in (("teacher", own.teacher), ("program_teacher", own.program_teacher)):
                if key in keys and sampler is not None and workspace.samplers[sampler].model != "trained":
                    yield from _with_parent(workspace, workspace.samplers[sampler].model)
    for name in committees:
        committee = workspace.committees[name]
        members = [*committee.teachers.values(), *(committee.reviewers.values() if name in reviewed else ())]
        student = committee.student_answers.student
        for model in [*(member.model for member in members), *([student] if student is not None else [])]:
            yield from _with_parent(workspace, model)


def _with_parent(workspace: "Workspace", model: str) -> Iterator[str]:
    yield model
    entry = workspace.models[model]
    if isinstance(entry, PrunedModel):
        yield entry.parent


def _task(workspace: "Workspace", name: str) -> Iterator[UserError]:
    source = workspace.tasks[name].source
    if isinstance(source, ReasoningGymSource) and importlib.util.find_spec("reasoning_gym") is None:
        yield UserError(
            "the package reasoning-gym is not installed",
            value=source.kind,
            remedy="Install it with `pip install reasoning-gym`, or use another source",
            **workspace.where("tasks", name, "source", "kind"),
        )
    if isinstance(source, FileSource):
        for split, file in source.files.items():
            yield from _file(file, workspace.where("tasks", name, "source", "files", split))
        yield from _file(source.split_file, workspace.where("tasks", name, "source", "split_file"))


def _model(workspace: "Workspace", name: str) -> Iterator[UserError]:
    model = workspace.models[name]
    if isinstance(model, PrunedModel) and model.drop_by_influence is not None:
        yield from _task(workspace, model.drop_by_influence.task)
    if isinstance(model, LocalModel):
        where = workspace.where("models", name, "path")
        if not Path(model.path).is_dir():
            yield UserError(
                "no such folder", value=model.path, remedy="Put the model there, or correct the path", **where
            )
        elif not Path(model.path, "config.json").is_file():
            yield UserError(
                "this folder holds no config.json", value=model.path, remedy="Name a model's folder", **where
            )
    if isinstance(model, ApiModel) and model.key is not None and not os.environ.get(model.key):
        yield UserError(
            "the environment has no such variable, and the endpoint needs a key",
            value=model.key,
            remedy=f"Set the environment variable {model.key}; any text will do if the store has every completion",
            **workspace.where("models", name, "key"),
        )


def _released(workspace: "Workspace", committee: Committee) -> Iterator[UserError]:
    if committee.released is None:
        return
    released, name = committee.released, committee.committee
    if not Path(released.folder).is_dir():
        where = workspace.where("committees", name, "released", "folder")
        remedy = "Put the released files there; docs/how-to.md says where they are"
        yield UserError("no such folder", value=released.folder, remedy=remedy, **where)
        return
    for kind in RELEASED_KINDS:
        file = f"{released.folder}/{released.stem}_{kind}_round0.json"
        yield from _file(file, workspace.where("committees", name, "released", "stem"))


def _sheets(workspace: "Workspace", committee: Committee, students: list[tuple[str, str]]) -> Iterator[UserError]:
    """Filled sheets of people, one for each task and student."""
    for member, person in committee.people.items():
        for task, student in students if person.sheet is not None else ():
            file = str(person.sheet).replace("{task}", task).replace("{student}", "-".join(Path(student).parts))
            yield from _file(file, workspace.where("committees", committee.committee, "people", member, "sheet"))


def _file(file: str | None, where: dict) -> Iterator[UserError]:
    if file is not None and not Path(file).is_file():
        yield UserError("no such file", value=file, remedy="Put the file there, or correct the path", **where)
