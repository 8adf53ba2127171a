"""Tools for the completion store: what is in it, is it whole, slices to give away, and garbage collection.

A slice is a zip file that holds units and their digests, so that others can replay a teacher without having it:

    slice.json                              format, series, unit -> SHA-256
    <series digest>/<time>-<digest>.parquet

An import reads and checks everything before it writes anything, and executes nothing: digests of units, digests of
series, columns, and that every key follows from its own prompt. A slice made again from other texts passes these
checks: compare its digest with the one that its maker published.
"""

import hashlib
import io
import json
import logging
import re
import time
import zipfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from distillery.errors import UserError
from distillery.files import atomic_open
from distillery.sampling.requests import STORE_FORMAT, Request, Series
from distillery.sampling.store import SCHEMA, CompletionStore, is_whole

logger = logging.getLogger(__name__)

MEMBER = re.compile(r"(?P<series>[0-9a-f]{32})/(?P<unit>\d{20}-[0-9a-f]{32}\.parquet)")
MERGED_ROWS = 4096


@dataclass(frozen=True)
class SeriesStatistics:
    """What a store holds of one model and way of decoding."""

    series: str
    model: str
    decoding: str
    units: int
    completions: int
    """Distinct keys."""
    twice: int
    """Rows beyond the first of their key: two jobs generated them at the same time."""
    completion_tokens: int
    bytes: int
    damaged: int


def statistics(store: CompletionStore) -> Iterator[SeriesStatistics]:
    """Count what is in a store, series by series."""
    for folder in store.series_folders():
        described = json.loads(store.files.cat_file(f"{folder}/series.json"))
        units = store.units(folder)
        keys: set[str] = set()
        rows = tokens = whole = 0
        for _, table in store.tables(folder, ["key", "completion_tokens"]):
            keys.update(table["key"].to_pylist())
            rows += len(table)
            tokens += pc.sum(table["completion_tokens"]).as_py() or 0
            whole += 1
        yield SeriesStatistics(
            series=folder.rsplit("/", 1)[-1],
            model=described["model"],
            decoding=f"T={described['temperature']:g}, {described['max_new_tokens']} tokens",
            units=len(units),
            completions=len(keys),
            twice=rows - len(keys),
            completion_tokens=tokens,
            bytes=sum(store.files.size(name) for name in units),
            damaged=len(units) - whole,
        )


def verify(store: CompletionStore) -> Iterator[tuple[str, str]]:
    """Every fault in a store, as file and fault."""
    for folder in store.series_folders():
        try:
            series = _series(json.loads(store.files.cat_file(f"{folder}/series.json")), folder.rsplit("/", 1)[-1])
        except (ValueError, KeyError, TypeError) as error:
            yield f"{folder}/series.json", str(error)
            continue
        for name in store.units(folder):
            fault = _unit_fault(name, store.files.cat_file(name), series)
            if fault:
                yield name, fault


def _series(described: dict[str, Any], digest: str) -> Series:
    values = {**described, "stop": tuple(described["stop"]), "choice": tuple(described.get("choice", ()))}
    if values.pop("format") != STORE_FORMAT:
        raise ValueError(f"made by another format of the store than {STORE_FORMAT}")
    series = Series(**values)
    if series.digest != digest:
        raise ValueError("the description of the series does not belong to its name")
    return series


def _unit_fault(name: str, data: bytes, series: Series) -> str | None:
    """What is wrong with a unit, or None."""
    if not is_whole(name, data):
        return "torn or changed: its bytes do not belong to its name"
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read()
    except (pa.ArrowException, OSError) as error:
        return f"not a Parquet file: {error}"
    if table.schema.remove_metadata() != SCHEMA:
        return f"has other columns than {', '.join(SCHEMA.names)}"
    for key, prompt, index in zip(*(table[c].to_pylist() for c in ("key", "prompt", "sample_index")), strict=True):
        if key not in {Request(prompt, index, special).key(series) for special in (True, False)}:
            return f"the key {key} does not follow from its prompt"
    return None


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
            digest = folder.rsplit("/", 1)[-1]
            for number, table in enumerate(_merged(_selected(store, folder, wanted))):
                buffer = io.BytesIO()
                pq.write_table(table, buffer, compression="zstd")
                data = buffer.getvalue()
                sha256 = hashlib.sha256(data).hexdigest()
                name = f"{digest}/{number:020d}-{sha256[:32]}.parquet"
                archive.writestr(zipfile.ZipInfo(name), data)
                described["units"][name] = sha256
                described["series"][digest] = json.loads(store.files.cat_file(f"{folder}/series.json"))
                count += len(table)
        listing = json.dumps(described, indent=1, sort_keys=True).encode()
        archive.writestr(zipfile.ZipInfo("slice.json"), listing)
    return count, hashlib.sha256(listing).hexdigest()


def _selected(store: CompletionStore, folder: str, wanted: set[str] | None) -> Iterator[pa.Table]:
    """Rows of a series that are wanted, each key once, oldest first."""
    seen: set[str] = set()
    for _, table in store.tables(folder):
        mask = []
        for key in table["key"].to_pylist():
            mask.append(key not in seen and (wanted is None or key in wanted))
            seen.add(key)
        if any(mask):
            yield table.filter(pa.array(mask))


def _merged(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of a few thousand."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= MERGED_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def import_slice(store: CompletionStore, source: Path, digest: str | None = None) -> tuple[int, int]:
    """Check a slice whole, then add what the store lacks.

    Returns:
        Completions in the slice, and completions added.

    Raises:
        UserError: The slice is not what its own digests, or `digest`, say; nothing was added.
    """

    def refused(problem: str, key: str | None = None) -> UserError:
        return UserError(
            f"this slice is refused: {problem}", file=source, key=key, remedy="Get it again from where it was made"
        )

    try:
        with zipfile.ZipFile(source) as archive:
            names = archive.namelist()
            if len(names) != len(set(names)) or "slice.json" not in names:
                raise refused("its list of files is not that of a slice")
            listing = archive.read("slice.json")
            if digest is not None and hashlib.sha256(listing).hexdigest() != digest:
                raise refused("its digest is another than the one you gave", key="digest")
            described = json.loads(listing)
            if set(names) != {"slice.json", *described["units"]}:
                raise refused("it holds other files than it lists")
            units: list[tuple[Series, pa.Table]] = []
            for name, sha256 in described["units"].items():
                match = MEMBER.fullmatch(name)
                if match is None:
                    raise refused("not a name of a unit", key=name)
                data = archive.read(name)
                if hashlib.sha256(data).hexdigest() != sha256:
                    raise refused("the bytes of this unit were changed", key=name)
                series = _series(described["series"][match["series"]], match["series"])
                fault = _unit_fault(name, data, series)
                if fault:
                    raise refused(fault, key=name)
                units.append((series, pq.ParquetFile(pa.BufferReader(data)).read()))
    except (zipfile.BadZipFile, ValueError, KeyError, TypeError) as error:
        raise refused(f"not a slice, or not a whole one: {error}") from error
    total = added = 0
    for series, table in units:
        there = store.find(series, table["key"].to_pylist())
        missing = table.filter(pa.array([key not in there for key in table["key"].to_pylist()], pa.bool_()))
        if len(missing):
            store.put_series(series)
            store.put_unit(store.folder(series), missing, time.time_ns())
        total, added = total + len(table), added + len(missing)
    return total, added


def collect(
    store: CompletionStore, needed: Collection[str], older_than_seconds: float, *, remove: bool = False
) -> tuple[int, int]:
    """Drop old completions that no result names, and merge the remaining units into fewer.

    Args:
        needed: Keys that current results name; they are kept at any age.
        older_than_seconds: Units younger than this are left alone.
        remove: False only counts.

    Returns:
        Completions removed, and completions kept.
    """
    needed = set(needed)
    limit = time.time_ns() - int(older_than_seconds * 1e9)
    gone = kept = 0
    for folder in store.series_folders():
        old, stays = [], []
        for name, table in store.tables(folder):
            if int(name.rsplit("/", 1)[-1].split("-")[0]) >= limit:
                kept += len(table)
                continue
            old.append(name)
            stays.append(table.filter(pa.array([key in needed for key in table["key"].to_pylist()], pa.bool_())))
            gone += len(table) - len(stays[-1])
            kept += len(stays[-1])
        if not remove or not old:
            continue
        first = int(old[0].rsplit("/", 1)[-1].split("-")[0])
        # New units are written before old units go, under the oldest time: the first completion of a key counts.
        written = {
            store.put_unit(folder, table, first + number)
            for number, table in enumerate(_merged(table for table in stays if len(table)))
        }
        for name in set(old) - written:
            store.files.rm_file(name)
    return gone, kept
