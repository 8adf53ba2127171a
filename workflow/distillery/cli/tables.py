"""`distillery table`: what an experiment found, in short, and where to read more."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from distillery.cli.common import Console, exit_on_user_error, new_table, options_of_run
from distillery.errors import UserError
from distillery.evaluation.short_table import WORDS, read_table, short_table
from distillery.files import read_json

NAMES = ("model", "task", "seed")
"""What a target of `distillery why` may name besides the recipe, in this order."""

WIDTH = 200
"""Of the page: a row stays one line, which a terminal wraps itself."""


def table(
    experiment: Annotated[str, typer.Argument(help="An experiment, or a file of its table.")],
    options: Annotated[
        list[str] | None, typer.Argument(help="After `--`: the options of Snakemake with which the table was made.")
    ] = None,
) -> None:
    """Print a finished table in short, where its pages are, and how to ask where a number comes from."""
    out = Console(highlight=False, width=WIDTH)
    with exit_on_user_error():
        settings = options_of_run(options or ()).configfiles
        folder = Path(experiment).parent if Path(experiment).suffix else Path("results", "tables", experiment)
        if not (folder / "table.csv").is_file():
            raise UserError("there is no such table yet", file=folder / "table.csv", remedy="Run the workflow")
        headings, *rows = short_table(read_table(folder / "table.csv"))
        shown = new_table(*headings, words=sum(heading in WORDS for heading in headings))
        for row in rows:
            shown.add_row(*row)
        out.print(shown)
        out.print()
        for name, text in (
            ("What the students wrote", folder / "table.html"),
            ("All columns, and what they mean", folder / "table.md"),
            ("Where a number comes from", _question(folder, settings)),
        ):
            out.print(f"{name + ':':<33}{text}", markup=False, soft_wrap=True)


def _question(folder: Path, configfiles: Sequence[Path]) -> str:
    """The command that explains a cell of the table: the last that was trained, since it has the longest history."""
    cells = read_json(folder / "provenance.json")["params"]["cells"]
    last = next((cell for cell in reversed(cells) if cell["costs"]), cells[-1])
    cell = next(cell for cell in cells if all(cell[key] == last[key] for key in ("recipe", "model", "task")))
    command = sys.argv[0] if Path(sys.argv[0]).name == "distillery" else "distillery"
    words = [command, "why", "/".join([folder.name, *_target(cell, cells)])]
    return shlex.join([*words, *(word for file in configfiles for word in ("--configfile", str(file)))])


def _target(cell: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The parts of the shortest target that means this cell alone."""
    left = [other for other in cells if other["recipe"] == cell["recipe"]]
    yield cell["recipe"]
    for name in NAMES:
        same = [other for other in left if other[name] == cell[name]]
        if len(same) < len(left):
            yield f"seed{cell[name]}" if name == "seed" else cell[name]
        left = same
