"""`distillery store`: look after what models wrote."""

from pathlib import Path
from typing import Annotated

import typer

from distillery.cli.common import Console, exit_on_user_error, new_app, new_table, seconds_of, size
from distillery.planning.references import completion_keys
from distillery.sampling.slices import export, import_slice
from distillery.sampling.store import CompletionStore
from distillery.sampling.store_maintenance import collect, statistics, verify

app = new_app("Look after the completion store: what models wrote.")

Location = Annotated[
    str | None, typer.Option("--store", help="Folder or URL; else DISTILLERY_STORE, else work/completions.")
]
Results = Annotated[list[Path] | None, typer.Option(help="Results whose completions count; may be given again.")]


@app.command()
def stats(store: Location = None) -> None:
    """Count what the store holds, by model and way of decoding."""
    out, where = Console(highlight=False), CompletionStore(store)
    table = new_table("series", "completions", "tokens", "units", "twice", "damaged", "size")
    names = []
    total = 0
    with exit_on_user_error():
        for series in statistics(where):
            total += series.completions
            counts = (series.completions, series.completion_tokens, series.units, series.twice, series.damaged)
            table.add_row(series.series[:12], *(f"{count:,}" for count in counts), size(series.bytes))
            names.append(f"{series.series[:12]}  {series.model}, {series.decoding}")
    if names:
        out.print(table)
        out.print("twice: stored again, of which the first written counts. Series:")
        out.print("\n".join(names), markup=False, soft_wrap=True)
    out.print(f"{total:,} completions in {where.location}", soft_wrap=True)


@app.command("verify")
def verify_command(store: Location = None) -> None:
    """Read every unit and check bytes, columns and keys; faults are listed and end with status 1."""
    faults = list(verify(CompletionStore(store)))
    for name, fault in faults:
        Console().print(f"{name}: {fault}", markup=False, soft_wrap=True)
    if faults:
        Console().print("Remove these files: their completions are generated again when they are needed.")
        raise typer.Exit(1)
    Console().print("every unit is whole")


@app.command("export")
def export_command(
    target: Annotated[Path, typer.Argument(help="The slice to write, a zip file.")],
    store: Location = None,
    results: Results = None,
) -> None:
    """Write a slice that others can import: all of the store, or what some results need."""
    keys = completion_keys(results) if results else None
    with exit_on_user_error():
        count, digest = export(CompletionStore(store), target, keys)
    Console().print(f"{count:,} completions in {target}\ndigest {digest}: give it to those who import", soft_wrap=True)


@app.command("import")
def import_command(
    source: Annotated[Path, typer.Argument(help="A slice made by `distillery store export`.")],
    digest: Annotated[str | None, typer.Option(help="The digest that its maker published.")] = None,
    store: Location = None,
) -> None:
    """Check a slice and add what the store lacks; a changed slice is refused whole, and nothing in it is executed."""
    with exit_on_user_error():
        counts = import_slice(CompletionStore(store), source, digest)
    Console().print(f"{counts.completions:,} completions in the slice, {counts.added:,} added")
    if counts.differing:
        Console().print(f"of {counts.differing:,} the store has another completion, which stays")
    if digest is None:
        Console().print("Without --digest, a slice that somebody else made would not be noticed.")


@app.command()
def gc(
    older_than: Annotated[str, typer.Option(help="Leave younger units alone: 90d, 12h.")] = "90d",
    results: Results = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only count.")] = False,
    store: Location = None,
) -> None:
    """Drop old completions that no current result names, and merge small units."""
    with exit_on_user_error():
        folders = results or [Path("results")]
        needed = completion_keys(folders)
        gone, kept = collect(CompletionStore(store), needed, seconds_of(older_than), remove=yes)
    verb = "removed" if yes else "would go (say --yes to remove them)"
    Console().print(f"{gone:,} completions {verb}, {kept:,} stay")
