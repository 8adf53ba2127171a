"""What commands share: errors told plainly, the graph of this folder, targets by path or by table cell."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from distillery.errors import UserError
from distillery.jobs.code_digest import LIBRARY
from distillery.planning.snakemake_graph import Node, read_graph
from distillery.registry import load_workspace

ConfigFiles = Annotated[list[Path] | None, typer.Option("--configfile", help="Settings laid over config/config.yaml.")]


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Print a UserError as text and leave with status 1."""
    try:
        yield
    except UserError as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


def graph_here(targets: Sequence[str], configfiles: list[Path] | None) -> list[Node]:
    """The graph of the workflow in this folder.

    Code digests are part of every job, so the library of this very folder must be the one that runs: where another is
    installed, the command is started again with this one.
    """
    own = Path("workflow", "distillery").resolve()
    if own.is_dir() and own != LIBRARY.resolve():
        paths = os.pathsep.join(filter(None, [str(own.parent), os.environ.get("PYTHONPATH")]))
        os.execve(
            sys.executable, [sys.executable, "-m", "distillery.cli", *sys.argv[1:]], {**os.environ, "PYTHONPATH": paths}
        )
    return read_graph(targets, configfiles or ())


def output_of(target: str, configfiles: list[Path] | None) -> str:
    """The output that a target names: a path, or a table cell as `experiment/recipe[/model][/task][/seedN]`.

    Raises:
        UserError: No such cell, or several; the message lists them.
    """
    if target.startswith("results/") or Path(target).exists():
        return target
    experiment, *parts = target.split("/")
    settings: dict[str, Any] = {}
    for file in [Path("config/config.yaml"), *(configfiles or [])]:
        settings |= yaml.safe_load(file.read_text(encoding="utf-8"))
    workspace = load_workspace(settings)
    table = workspace.find("experiments", experiment)
    cells = {
        f"{experiment}/{cell.task}/{cell.recipe}/{cell.model}/seed{cell.seed}": (
            f"results/scores/{cell.task}/test/{table.setup}/{cell.recipe}/{cell.model}/seed{cell.seed}/scores.json"
        )
        for cell in workspace.cells(experiment)
    }
    found = [name for name in cells if set(parts) <= set(name.split("/"))]
    if len(found) != 1:
        raise UserError(
            "no cell of this table" if not found else "several cells of the table",
            key="target",
            value=target,
            remedy="Name one of: " + ", ".join(found or cells),
        )
    return cells[found[0]]


def node_of(nodes: Sequence[Node], output: str) -> Node:
    """The job that makes an output.

    Raises:
        UserError: None does.
    """
    for node in nodes:
        if any(Path(output) == path for path in node.job.outputs.values()):
            return node
    raise UserError("no job of the workflow makes this", file=output, remedy="`distillery plan` shows what is made")


def seconds_of(text: str) -> float:
    """Seconds of an age such as `30d`, `12h` or `0s`.

    Raises:
        UserError: It is not one.
    """
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if not match:
        raise UserError("not an age", key="--older-than", value=text, remedy="Write it like 30d, 12h, 10m or 0s")
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


def size(count: int) -> str:
    """A number of bytes for people."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
