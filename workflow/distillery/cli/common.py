"""What commands share: errors as one line, the library and the graph of this folder, units for people."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import rich.console
import typer
from rich import box
from rich.segment import Segment
from rich.table import Table
from typer.core import TyperGroup

from distillery.disk_faults import disk_fault
from distillery.errors import UserError
from distillery.jobs.code_digest import LIBRARY
from distillery.planning.snakemake_graph import Node, RunOptions, read_graph, read_options
from distillery.visible import visible

ConfigFiles = Annotated[list[Path] | None, typer.Option("--configfile", help="Settings laid over config/config.yaml.")]


class Console(rich.console.Console):
    """A console that shows control characters of names and texts instead of writing them to the terminal."""

    def render(
        self, renderable: rich.console.RenderableType, options: rich.console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of what is printed: each table, tree and text goes through here."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)


def new_app(summary: str) -> typer.Typer:
    """A group of commands. Help texts are plain: in rich's markup, brackets as in `[/model]` would be tags."""
    return typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, help=summary, rich_markup_mode=None)


def new_table(*columns: str, words: int = 1) -> Table:
    """A table that fits into 80 characters: it has no lines between columns.

    Args:
        words: Number of columns with words, at the left; the others hold numbers.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, heading in enumerate(columns):
        table.add_column(heading, justify="left" if number < words else "right")
    return table


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Print a UserError, or a fault of the disk, as text and leave with status 1."""
    try:
        yield
    except (UserError, OSError) as error:
        fault = error if isinstance(error, UserError) else disk_fault(error)
        if fault is None:
            raise
        Console(stderr=True).print(str(fault), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


class _Commands(TyperGroup):
    """A group of commands, each of which ends with one line where the disk has a fault."""

    def invoke(self, ctx: Any) -> Any:
        with exit_on_user_error():
            return super().invoke(ctx)


def require_project() -> None:
    """Refuse to work outside a folder of the workflow.

    Raises:
        UserError: This folder has no Snakefile or no settings.
    """
    for file in (Path("Snakefile"), Path("config/config.yaml")):
        if not file.is_file():
            raise UserError("no such file here", file=file, remedy="Change to the folder of the workflow")


def use_library_of(folder: Path) -> None:
    """Go on with the library of a folder: where another one runs, start the command again with this one.

    Code digests and checks of settings are those of the library that runs, so it must be the one beside the workflow.
    """
    own = (folder / "workflow" / "distillery").resolve()
    if own.is_dir() and own != LIBRARY.resolve():
        paths = os.pathsep.join(filter(None, [str(own.parent), os.environ.get("PYTHONPATH")]))
        os.execve(
            sys.executable, [sys.executable, "-m", "distillery.cli", *sys.argv[1:]], {**os.environ, "PYTHONPATH": paths}
        )


def graph_here(
    targets: Sequence[str], configfiles: Sequence[Path] | None, config: Mapping[str, Any] | None = None
) -> list[Node]:
    """The graph of the workflow in this folder, by the library of this folder.

    Raises:
        UserError: This is no folder of the workflow, or the workflow cannot be planned.
    """
    require_project()
    use_library_of(Path())
    return read_graph(targets, configfiles or (), config)


def options_of_run(arguments: Sequence[str]) -> RunOptions:
    """What `snakemake` with these options would make; without any, nothing is read.

    Raises:
        UserError: Snakemake does not take them.
    """
    return read_options(arguments) if arguments else RunOptions()


def seconds_of(text: str) -> float:
    """Seconds of an age such as `30d`, `12h` or `0s`.

    Raises:
        UserError: It is not an age.
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
