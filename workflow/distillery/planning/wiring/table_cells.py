"""The cells of a table with the files that hold their numbers, the files of the table itself, and its audits."""

import difflib
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from distillery.config.base import plain
from distillery.config.experiment import Experiment
from distillery.config.workspace import TableCell, Workspace
from distillery.errors import UserError
from distillery.planning.wiring.committee_inputs import committee_note
from distillery.planning.wiring.paths import fill

TABLE_FILES = ("table.md", "table.csv", "table.parquet", "table.html", "figure.svg", "figure.png")


def table_files(experiments: Iterable[str]) -> list[str]:
    """Tables and figures of some experiments."""
    return [fill(f"<table>/{file}", experiment=name) for name in experiments for file in TABLE_FILES]


def experiment_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """An experiment as plain values."""
    return plain(workspace.experiments[wildcards.experiment])


def table_cells(workspace: Workspace, wildcards: Any) -> list[dict[str, Any]]:
    """Every cell of a table as plain values: what it is, and the files that hold its numbers.

    Raises:
        UserError: No such table; names the known ones, closest first.
    """
    experiment = wildcards.experiment
    if experiment not in workspace.experiments:
        raise _no_such_table(workspace, experiment)
    return [_plain_cell(workspace, cell, workspace.experiments[experiment]) for cell in workspace.cells(experiment)]


def unknown_table(workspace: Workspace, wildcards: Any) -> list[str]:
    """Refuse a target `table_<name>` that is no rule.

    Raises:
        UserError: Names the known tables, closest first.
    """
    raise _no_such_table(workspace, wildcards.unknown)


def _no_such_table(workspace: Workspace, name: str) -> UserError:
    wanted = difflib.SequenceMatcher(b=name)

    def likeness(known: str) -> float:
        wanted.set_seq1(known)
        return wanted.ratio()

    known = sorted(sorted(workspace.experiments), key=likeness, reverse=True)
    return UserError("no such table", key="table", value=name, remedy=f"Known, closest first: {', '.join(known)}")


def _plain_cell(workspace: Workspace, cell: TableCell, experiment: Experiment) -> dict[str, Any]:
    where = _wildcards(cell, experiment)
    recipe = workspace.recipe(cell.recipe, experiment.setup)
    trained_by = recipe.weights_of or (cell.recipe if recipe.trained else None)
    costs = [
        fill(f"<{folder}>/summary.json", where, recipe=trained_by) for folder in ("rows", "trained_model") if trained_by
    ]
    return {
        "task": cell.task,
        "task_title": workspace.tasks[cell.task].title,
        "recipe": cell.recipe,
        "arm_title": cell.arm_title,
        "model": cell.model,
        "seed": cell.seed,
        "scores": fill("<scores>/scores.json", where),
        "predictions": fill("<scores>/graded.jsonl", where),
        "swept": cell.swept,
        "published": cell.published.accuracy if cell.published else None,
        "published_source": cell.published.source if cell.published else None,
        "costs": costs,
        "note": committee_note(workspace, where),
        **_questions(cell, experiment),
    }


def _questions(cell: TableCell, experiment: Experiment) -> dict[str, str]:
    """The questions of a cell, for tables that say something about them."""
    files = {}
    if experiment.parts or experiment.majority_answer:
        files["questions"] = fill(f"<questions>/{experiment.split}.jsonl", task=cell.task)
    if experiment.majority_answer:
        files["train_questions"] = fill("<questions>/train.jsonl", task=cell.task)
    return files


def cell_questions(workspace: Workspace, wildcards: Any) -> list[str]:
    """Questions of all cells, where the table needs them."""
    cells = table_cells(workspace, wildcards)
    return sorted({cell[key] for cell in cells for key in ("questions", "train_questions") if key in cell})


def cell_scores(workspace: Workspace, wildcards: Any) -> list[str]:
    """Scores of all cells."""
    return [cell["scores"] for cell in table_cells(workspace, wildcards)]


def cell_predictions(workspace: Workspace, wildcards: Any) -> list[str]:
    """Graded predictions of all cells."""
    return [cell["predictions"] for cell in table_cells(workspace, wildcards)]


def cell_costs(workspace: Workspace, wildcards: Any) -> list[str]:
    """Summaries of rows and trainings behind the cells; cells may share them."""
    return sorted({path for cell in table_cells(workspace, wildcards) for path in cell["costs"]})


def refined_cells(workspace: Workspace, wildcards: Any) -> dict[str, str]:
    """Scores file -> file of all versions, of the cells whose students refine their programs."""
    experiment = workspace.experiments[wildcards.experiment]
    return {
        fill("<scores>/scores.json", where): fill("<refined>/rounds.jsonl", where)
        for cell in workspace.cells(wildcards.experiment)
        if workspace.recipe(cell.recipe, experiment.setup).predict.refine is not None
        for where in [_wildcards(cell, experiment)]
    }


def refined_rounds(workspace: Workspace, wildcards: Any) -> list[str]:
    """These files of all versions."""
    return sorted(refined_cells(workspace, wildcards).values())


def audits(workspace: Workspace, experiments: Iterable[str]) -> list[str]:
    """Audit pages: one for each student whose mistakes were reviewed, by the first recipe that uses the reviews."""
    found: dict[tuple[str, str, str], str] = {}
    for name in experiments:
        experiment = workspace.experiments[name]
        setup = experiment.setup
        for cell in workspace.cells(name):
            pairs = workspace.recipe(cell.recipe, setup).pairs
            if pairs is not None and pairs.reviewed:
                student = workspace.committee_student(cell.recipe, setup, cell.model, cell.seed)
                found.setdefault((cell.task, setup, student), fill("<audit>/audit.html", _wildcards(cell, experiment)))
    return list(found.values())


def _wildcards(cell: TableCell, experiment: Experiment) -> SimpleNamespace:
    return SimpleNamespace(
        task=cell.task,
        split=experiment.split,
        setup=experiment.setup,
        recipe=cell.recipe,
        model=cell.model,
        seed=cell.seed,
    )
