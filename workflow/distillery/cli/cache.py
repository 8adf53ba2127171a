"""`distillery cache`: look after what jobs made."""

import time
from pathlib import Path
from typing import Annotated

import typer

from distillery.cli.common import Console, exit_on_user_error, new_app, new_table, seconds_of, size
from distillery.jobs.cache import OFF, ArtifactCache
from distillery.planning.references import artifact_keys

app = new_app("Look after the artifact cache: what jobs made.")

Location = Annotated[Path | None, typer.Option("--cache", help="Folder; else DISTILLERY_CACHE, else work/cache.")]


def _cache(location: Path | None) -> ArtifactCache:
    if location is None:
        cache = ArtifactCache.from_environment()
    else:
        cache = ArtifactCache(None if str(location) == OFF else location)
    if cache.root is None:
        Console(stderr=True).print("the cache is switched off")
        raise typer.Exit(1)
    return cache


@app.command()
def stats(cache: Location = None) -> None:
    """Count entries, seconds of work and bytes, by stage."""
    found: dict[str, list[tuple[float, int]]] = {}
    for _, entry in _cache(cache).entries():
        held = sum(content.bytes for content in entry.contents())
        found.setdefault(entry.stage, []).append((float(entry.record.get("seconds", 0)), held))
    table = new_table("stage", "entries", "hours of work", "size")
    for stage, entries in sorted(found.items()):
        hours = sum(seconds for seconds, _ in entries) / 3600
        table.add_row(stage, str(len(entries)), f"{hours:.2f}", size(sum(held for _, held in entries)))
    Console().print(table)


@app.command()
def verify(cache: Location = None) -> None:
    """Read every entry and object and check them; faults are removed, reported, and end with status 1."""
    where = _cache(cache)
    assert where.objects is not None
    faults = [(path, reason) for path, entry, reason in where.examined() if entry is None]
    faults += list(where.objects.damaged())
    for path, reason in faults:
        done = (
            "removed, the job that needs it runs again"
            if where.discard(path)
            else "it cannot be removed: no permission"
        )
        Console().print(f"{ascii(str(path))[1:-1]}: {reason}; {done}", markup=False, highlight=False, soft_wrap=True)
    if faults:
        raise typer.Exit(1)
    Console().print("every object is whole")


@app.command()
def gc(
    older_than: Annotated[str, typer.Option(help="Leave alone what was used since: 30d, 12h.")] = "30d",
    results: Annotated[
        list[Path] | None, typer.Option(help="Results whose tables keep what they come from; may be given again.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only count.")] = False,
    cache: Location = None,
) -> None:
    """Drop entries that were not used lately and that no current table comes from."""
    where = _cache(cache)
    with exit_on_user_error():
        kept_since = time.time() - seconds_of(older_than)
        needed = artifact_keys(results or [Path("results")])
    gone = [path for path, entry in where.entries() if entry.key not in needed and where.last_used(path) < kept_since]
    if not yes:
        Console().print(f"{len(gone)} entries would go (say --yes to remove them), {len(needed)} are needed")
        return
    removed = sum(where.discard(path) for path in gone)
    files, held = where.remove_unused_objects()
    Console().print(f"{removed} entries, {files} objects and {size(held)} removed")
    if removed < len(gone):
        Console().print(f"{len(gone) - removed} entries cannot be removed: they lie in folders of other users")
