"""The command line: tools beside the workflow, which itself is run with snakemake.

check, schemas         check the declarative files; write their schemas
plan, why, accept      what a run would do and cost; where a result comes from and why it is stale; keep it all the same
times, table           where the time went; a finished table in short
store, cache           look after what models wrote and what jobs made
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from distillery import __version__
from distillery.cli import cache, lineage, planning, store, tables
from distillery.cli.common import Console, exit_on_user_error, new_app, new_table, use_library_of
from distillery.cli.targets import read_settings
from distillery.config.schemas import write_all
from distillery.logs import print_traceback, show_warnings
from distillery.planning.references import existing_results
from distillery.planning.shipped import records_in
from distillery.registry import REGISTRY, load_workspace

app = new_app("Tools beside the workflow; the workflow itself is run with snakemake.")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"distillery {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Tools beside the workflow; the workflow itself is run with snakemake."""


@app.command()
def check(
    settings: Annotated[Path, typer.Argument(help="The run's settings.")] = Path("config/config.yaml"),
    config: Annotated[Path, typer.Option(help="Folder of the declarative files.")] = Path("config"),
) -> None:
    """Validate every declarative file and list the tables that a run would make."""
    out = Console()
    with exit_on_user_error():
        run = read_settings(settings)
        use_library_of(config.resolve().parent)
        workspace = load_workspace(run, config, settings_file=str(settings))
    table = new_table("table", "tasks", "arms", "cells", "in this run", words=2)
    for name, experiment in workspace.experiments.items():
        cells = len(list(workspace.cells(name)))
        made = "yes" if name in workspace.settings.experiments else "no"
        table.add_row(name, "\n".join(experiment.tasks), str(len(experiment.arms)), str(cells), made)
    out.print(table)
    for name, faults in workspace.not_runnable().items():
        lines = "\n".join(f"  {fault}" for fault in faults)
        out.print(f"not runnable here: {name}\n{lines}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def times(results: Annotated[Path, typer.Argument(help="Folder of the results.")] = Path("results")) -> None:
    """Where the time went: jobs and seconds of each stage, from the provenance records."""
    spent: dict[str, list[float]] = {}
    with exit_on_user_error():
        for record in records_in(existing_results(results)):
            spent.setdefault(record["stage"], []).append(record["seconds"])
    table = new_table("stage", "jobs", "seconds", "longest")
    for stage, seconds in sorted(spent.items(), key=lambda item: -sum(item[1])):
        table.add_row(stage, str(len(seconds)), f"{sum(seconds):.0f}", f"{max(seconds):.0f}")
    total = [second for seconds in spent.values() for second in seconds]
    table.add_row("all", str(len(total)), f"{sum(total):.0f}", f"{max(total, default=0):.0f}")
    Console().print(table)


@app.command()
def schemas(root: Annotated[Path, typer.Option(help="The repository.")] = Path()) -> None:
    """Write the JSON schemas and the key tables of config/README.md."""
    write_all(root, REGISTRY)


def main() -> None:
    """The command `distillery`: what no command foresaw is printed as Python does, but visible."""
    show_warnings()
    try:
        app()
    except Exception as error:
        print_traceback(type(error), error, error.__traceback__)
        sys.exit(1)


app.add_typer(store.app, name="store")
app.add_typer(cache.app, name="cache")
app.command()(planning.plan)
app.command()(lineage.why)
app.command()(lineage.accept)
app.command()(tables.table)
