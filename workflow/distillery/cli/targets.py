"""Targets of commands: a path, an experiment, or a cell of its table. Unknown names list the known ones."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from distillery.cli.common import graph_here
from distillery.config.source import read_source
from distillery.config.workspace import Workspace
from distillery.errors import UserError, UserErrors
from distillery.planning.snakemake_graph import Node, UnknownOutput
from distillery.planning.wiring.table_cells import table_cells
from distillery.registry import load_workspace

SHOWN = 20
"""Known names that a message lists at most."""

FORM = "an output, an experiment, or a cell: experiment/recipe[/model][/task][/seedN]"


def outputs_of(targets: Sequence[str], configfiles: list[Path] | None) -> list[str]:
    """The outputs that targets name.

    Args:
        targets: Each a path, an experiment (its table), or a cell `experiment/recipe[/model][/task][/seedN]`.

    Raises:
        UserError: No such experiment or cell, or several; the message lists them, the closest first.
    """
    workspace = None
    outputs = []
    for target in targets:
        if target.startswith("results/") or Path(target).is_file():
            outputs.append(target)
            continue
        workspace = workspace or _workspace(configfiles)
        outputs.append(_output_of(target, workspace))
    return outputs


def _output_of(target: str, workspace: Workspace) -> str:
    experiment, *parts = target.strip("/").split("/")
    if experiment not in workspace.experiments:
        raise UserError(
            f"no such experiment; a target is {FORM}",
            key="target",
            value=target,
            remedy=f"Known: {closest(experiment, workspace.experiments)}",
        )
    if not parts:
        return f"results/tables/{experiment}/table.md"
    cells = {
        f"{experiment}/{cell['task']}/{cell['recipe']}/{cell['model']}/seed{cell['seed']}": cell["scores"]
        for cell in table_cells(workspace, SimpleNamespace(experiment=experiment))
    }
    found = [name for name in cells if set(parts) <= set(name.split("/")[1:])]
    if len(found) != 1:
        raise UserError(
            "several cells of the table" if found else "no cell of this table",
            key="target",
            value=target,
            remedy=f"Name one of: {closest(target, found or cells)}",
        )
    return cells[found[0]]


def _workspace(configfiles: list[Path] | None) -> Workspace:
    settings: dict[str, Any] = {}
    for file in [Path("config/config.yaml"), *(configfiles or [])]:
        settings |= read_settings(file)
    return load_workspace(settings)


def read_settings(file: Path) -> dict[str, Any]:
    """The run's settings in a file.

    Raises:
        UserErrors: It is missing, or it is not YAML with keys.
    """
    errors: list[UserError] = []
    source = read_source(file, errors)
    if source is None:
        raise UserErrors(errors)
    return source.content


def nodes_of(targets: Sequence[str], configfiles: list[Path] | None) -> tuple[list[Node], list[Node]]:
    """The graph behind targets, and the jobs that make them.

    Raises:
        UserError: No job makes one of them; the message lists outputs that the default targets need, the closest first.
    """
    outputs = outputs_of(targets, configfiles)
    try:
        nodes = graph_here(outputs, configfiles)
    except UnknownOutput:
        nodes = []
    makers = {path: node for node in nodes for path in node.job.outputs.values()}
    unknown = [output for output in outputs if Path(output) not in makers]
    if unknown:
        known = [str(path) for node in graph_here([], configfiles) for path in node.job.outputs.values()]
        if not nodes and len(unknown) > 1:
            unknown = [output for output in unknown if output not in known] or unknown
        raise UserError(
            "no job of the workflow makes this",
            key="target",
            value=unknown[0],
            remedy=f"Outputs with like names: {closest(unknown[0], known, 5)}",
        )
    return nodes, [makers[Path(output)] for output in outputs]


def closest(name: str, known: Iterable[str], shown: int = SHOWN) -> str:
    """Known names as a list in words, those most like a name first."""
    names = sorted(known, key=lambda other: (-difflib.SequenceMatcher(None, name, other).ratio(), other))
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return (", ".join(names[:shown]) or "none") + more
