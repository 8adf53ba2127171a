"""Slices of a completion store: given away, so that others can replay a teacher without having it, and taken in.

A slice is a zip file of units and their digests:

    slice.json                              format, series, unit -> SHA-256
    <series digest>/<number>-<digest>.parquet

An import trusts nothing. A process of its own with limited memory reads and checks all of the slice first
(`distillery.sampling.slice_checks`); nothing is written before, so a slice that is refused leaves the store unchanged.
An import that is stopped midway has added a part, all of it valid; importing again adds the rest. Times are its own.
A slice made again from other texts passes: compare its digest with that which its maker published.
"""

import hashlib
import io
import json
import logging
import os
import subprocess
import sys
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from distillery.errors import UserError
from distillery.files import atomic_open
from distillery.sampling.requests import STORE_FORMAT, Series
from distillery.sampling.slice_checks import (
    LISTING,
    MEMORY_BYTES,
    Checked,
    SliceFault,
    open_slice,
    read_listing,
    read_unit,
)
from distillery.sampling.store import CompletionStore
from distillery.sampling.store_maintenance import merged, stored_series
from distillery.sampling.unit_checks import MAX_UNIT_BYTES, MAX_UNIT_ROWS, read_table
from distillery.sampling.units import GIVES_WAY

logger = logging.getLogger(__name__)

LIBRARY = str(Path(__file__).parents[2])
REMEDY = "Get it again from where it was made; nothing was imported"


class Imported(NamedTuple):
    """Counts of an import."""

    completions: int
    """In the slice."""
    added: int
    differing: int
    """Not added, as the store has another completion of the same key; its own counts."""


def export(store: CompletionStore, target: Path, keys: Collection[str] | None = None) -> tuple[int, str]:
    """Write a slice.

    Args:
        keys: The completions wanted; None takes all of the store.

    Returns:
        Number of completions, and the slice's digest, which those who import it compare.
    """
    wanted = None if keys is None else set(keys)
    count = 0
    described: dict[str, Any] = {"format": STORE_FORMAT, "series": {}, "units": {}}
    with atomic_open(target, "wb") as out, zipfile.ZipFile(out, "w") as archive:
        for folder in store.series_folders():
            series = stored_series(store, folder)
            digest = series.digest
            units = (part for table in merged(_selected(store, folder, wanted)) for part in _within_limits(table))
            for number, table in enumerate(units):
                buffer = io.BytesIO()
                pq.write_table(table, buffer, compression="zstd")
                data = buffer.getvalue()
                sha256 = hashlib.sha256(data).hexdigest()
                name = f"{digest}/{number:020d}-{sha256[:32]}.parquet"
                archive.writestr(zipfile.ZipInfo(name), data)
                described["units"][name] = sha256
                described["series"][digest] = series.describe()
                count += len(table)
        listing = json.dumps(described, indent=1, sort_keys=True).encode()
        archive.writestr(zipfile.ZipInfo(LISTING), listing)
    return count, hashlib.sha256(listing).hexdigest()


def _selected(store: CompletionStore, folder: str, wanted: set[str] | None) -> Iterator[pa.Table]:
    """Rows of a series that are wanted, oldest first: of each key the completion that readers of the store get."""
    best: dict[str, int] = {}
    for _, table in store.tables(folder, ["key", "finish_reason"]):
        for key, reason in _keys_and_reasons(table):
            rank = GIVES_WAY.get(reason, 0)
            best[key] = min(best.get(key, rank), rank)
    seen: set[str] = set()
    for _, table in store.tables(folder):
        mask = []
        for key, reason in _keys_and_reasons(table):
            rank = GIVES_WAY.get(reason, 0)
            gives_way = rank > best.get(key, rank)  # another job may have added it meanwhile
            mask.append(not gives_way and key not in seen and (wanted is None or key in wanted))
            if gives_way:
                continue
            seen.add(key)
        if any(mask):
            yield table.filter(pa.array(mask))


def _keys_and_reasons(table: pa.Table) -> Iterator[tuple[str, str]]:
    return zip(table["key"].to_pylist(), table["finish_reason"].to_pylist(), strict=True)


def _within_limits(table: pa.Table) -> Iterator[pa.Table]:
    """The same rows in tables that an import reads."""
    if len(table) <= 1 or (len(table) <= MAX_UNIT_ROWS and table.nbytes <= MAX_UNIT_BYTES // 2):
        yield table
        return
    half = len(table) // 2
    yield from _within_limits(table.slice(0, half))
    yield from _within_limits(table.slice(half))


def import_slice(store: CompletionStore, source: Path, digest: str | None = None) -> Imported:
    """Check a slice whole, then add what the store lacks.

    Args:
        digest: The digest that its maker published.

    Raises:
        UserError: The slice is not what its own digests, or `digest`, say, or holds what is no completion; nothing was
            added.
    """
    return add_slice(store, source, check_apart(source, digest))


def check_apart(source: Path, digest: str | None = None, memory: int = MEMORY_BYTES) -> Checked:
    """Check a slice in a process of its own, since a hostile file may exhaust memory or crash a reader in C++.

    Args:
        memory: Bytes that it may need, beside what its libraries take.

    Raises:
        UserError: The slice is refused.
    """
    done = subprocess.run(
        [sys.executable, "-m", "distillery.sampling.slice_checks", str(source), digest or "", str(memory)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [LIBRARY, os.environ.get("PYTHONPATH")]))},
        check=False,
    )
    try:
        said = json.loads(done.stdout)
        if "checked" in said:
            return Checked(**said["checked"])
        fault = SliceFault(**said["fault"])
    except (ValueError, TypeError, KeyError):
        last = done.stderr.strip().split("\n")[-1]
        fault = SliceFault(f"reading it ended with status {done.returncode}{': ' if last else ''}{last[:200]}")
    raise refusal(source, fault)


def refusal(source: Path, fault: SliceFault) -> UserError:
    """The error that names the slice."""
    problem = f"this slice is refused: {fault.problem}"
    return UserError(problem, file=source, key=fault.place, value=fault.value, remedy=fault.remedy or REMEDY)


def add_slice(store: CompletionStore, source: Path, checked: Checked) -> Imported:
    """Add what the store lacks of a slice that was checked.

    Raises:
        UserError: The file is not what was checked any more.
    """
    added = differing = 0
    try:
        with open_slice(source) as archive:
            listing = read_listing(archive, checked.listing)
            for name, series in listing.series_of_units():
                table = read_table(read_unit(archive, name, listing))
                new, other = _add(store, series, table)
                added, differing = added + new, differing + other
    except SliceFault as fault:
        raise refusal(source, fault) from fault
    return Imported(checked.completions, added, differing)


def _add(store: CompletionStore, series: Series, table: pa.Table) -> tuple[int, int]:
    """Add the rows that the store lacks, after all others; return how many these are, and how many differ."""
    there = store.find(series, table["key"].to_pylist())
    mask, differing = [], 0
    for key, text, reason in zip(*(table[name].to_pylist() for name in ("key", "text", "finish_reason")), strict=True):
        own = there.get(key)
        lacks = own is None or GIVES_WAY.get(reason, 0) < GIVES_WAY.get(own.finish_reason, 0)
        mask.append(lacks)
        differing += own is not None and not lacks and (own.text, own.finish_reason) != (text, reason)
    missing = table.filter(pa.array(mask, pa.bool_()))
    if len(missing):
        store.append(series, lambda: missing)
    return len(missing), differing
