"""Cross-checks of experiments: what a table names exists, and its cells have what they need."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from distillery.config.cell_checks import check_cell
from distillery.config.experiment import Experiment
from distillery.config.model import ApiModel
from distillery.config.names import named
from distillery.errors import UserError

if TYPE_CHECKING:
    from distillery.config.workspace import TableCell, Workspace


def check_experiments(workspace: "Workspace") -> Iterator[UserError]:
    """Every fault of every experiment; cells are looked at once all names are known."""
    for name, experiment in workspace.experiments.items():
        faults = list(_names(workspace, name, experiment))
        yield from faults
        if faults:
            continue
        cells = list(workspace.cells(name))
        yield from _rows(workspace, name, experiment, cells)
        yield from _published(workspace, name, experiment, cells)
        for cell in dict.fromkeys((cell.task, cell.recipe, cell.model) for cell in cells):
            yield from check_cell(workspace, experiment.setup, *cell)


def _names(workspace: "Workspace", name: str, experiment: Experiment) -> Iterator[UserError]:
    def where(*path: str, value: Any = None) -> dict:
        return workspace.where("experiments", name, *path, value=value)

    yield from named(workspace, "setups", experiment.setup, where("setup"))
    for task in experiment.tasks:
        yield from named(workspace, "tasks", task, where("tasks", value=task))
        if task in workspace.tasks:
            yield from has_grader(workspace, task, experiment.grader, where("grader"))
    lists: list[tuple[tuple[str, ...], list[str]]] = [(("students",), experiment.students)]
    lists += [(("arms", str(place), "models"), arm.models or []) for place, arm in enumerate(experiment.arms)]
    for path, models in lists:
        for model in models:
            yield from named(workspace, "models", model, where(*path, value=model))
            if isinstance(workspace.models.get(model), ApiModel):
                yield UserError(
                    "a model behind an endpoint can generate text, and cannot be trained or pruned",
                    value=model,
                    remedy="Name it in a sampler, as a teacher",
                    **where(*path, value=model),
                )


def has_grader(workspace: "Workspace", task: str, grader: str, where: dict) -> Iterator[UserError]:
    """The fault of a grader that a task does not have."""
    known = workspace.graders_of(task)
    if grader not in known:
        yield UserError(
            f"task {task} has no such grader",
            value=grader,
            remedy=f"Use one of {', '.join(sorted(known))}, or add it to the task's `graders`",
            **where,
        )


def _rows(workspace: "Workspace", name: str, experiment: Experiment, cells: list["TableCell"]) -> Iterator[UserError]:
    """Rows of the table can be told apart, and the baseline and the figure's setting are among them."""
    seen: dict[str, str] = {}
    counted: set[tuple[Any, ...]] = set()
    for cell in cells:
        row = f"{cell.arm_title} {cell.swept} of {cell.model} on {workspace.tasks[cell.task].title}"
        place = workspace.where("experiments", name, "arms", str(cell.arm))
        if (cell.task, cell.recipe, cell.model, cell.seed) in counted:
            remedy = "Remove one of them"
            yield UserError("two arms of the experiment are the same", value=cell.recipe, remedy=remedy, **place)
        elif seen.setdefault(row, cell.recipe) != cell.recipe:
            yield UserError(
                f"two arms have one title: {seen[row]} and {cell.recipe}",
                value=cell.arm_title,
                remedy="Give each a title of its own",
                **{**place, "key": f"{place['key']}.title"},
            )
        counted.add((cell.task, cell.recipe, cell.model, cell.seed))
    recipes = list(dict.fromkeys(cell.recipe for cell in cells))
    if experiment.baseline is not None and experiment.baseline not in recipes:
        yield UserError(
            "no arm of the experiment has this recipe",
            value=experiment.baseline,
            remedy=f"Name one of {', '.join(recipes)}",
            **workspace.where("experiments", name, "baseline"),
        )
    swept = sorted({path for cell in cells for path in cell.swept})
    if experiment.figure.over is not None and experiment.figure.over not in swept:
        yield UserError(
            "no arm of the experiment sweeps this setting",
            value=experiment.figure.over,
            remedy=f"Its arms sweep {', '.join(swept) or 'nothing'}",
            **workspace.where("experiments", name, "figure", "over"),
        )


def _published(
    workspace: "Workspace", name: str, experiment: Experiment, cells: list["TableCell"]
) -> Iterator[UserError]:
    """A published number belongs to one cell of the table; without one it would not be shown."""
    seen: set[tuple[str, str, str]] = set()
    for place, number in enumerate(experiment.published):

        def where(key: str, place: int = place) -> dict:
            return workspace.where("experiments", name, "published", str(place), key)

        rest = cells
        for key in ("task", "recipe", "model"):
            value = getattr(number, key)
            known = list(dict.fromkeys(getattr(cell, key) for cell in rest))
            rest = [cell for cell in rest if getattr(cell, key) == value]
            if not rest:
                remedy = f"Name one of {', '.join(known)}"
                yield UserError(f"no cell of the table has this {key}", value=value, remedy=remedy, **where(key))
                break
        cell = (number.task, number.recipe, number.model)
        if cell in seen:
            problem = "a second published number of one cell"
            yield UserError(problem, value=number.accuracy, remedy="Keep one of them", **where("accuracy"))
        seen.add(cell)
