"""Tools for the completion store: what is in it, is it whole, and garbage collection."""

import json
import logging
import math
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from distillery.errors import UserError
from distillery.sampling.requests import Series
from distillery.sampling.store import CompletionStore, is_whole
from distillery.sampling.unit_checks import UnitFault, checked_table, series_of

logger = logging.getLogger(__name__)

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
        series = stored_series(store, folder)
        units = store.units(folder)
        keys: set[str] = set()
        rows = tokens = whole = 0
        for _, table in store.tables(folder, ["key", "completion_tokens"]):
            keys.update(table["key"].to_pylist())
            rows += len(table)
            tokens += pc.sum(table["completion_tokens"]).as_py() or 0
            whole += 1
        yield SeriesStatistics(
            series=series.digest,
            model=series.model,
            decoding=f"T={series.temperature:g}, {series.max_new_tokens} tokens",
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
            series = stored_series(store, folder)
        except UserError as error:
            yield str(error.file), error.problem
            continue
        for name in store.units(folder):
            data = store.files.cat_file(name)
            if not is_whole(name, data):
                yield name, "torn or changed: its bytes do not belong to its name"
                continue
            try:
                checked_table(data, series, max_bytes=math.inf, max_rows=math.inf)
            except UnitFault as fault:
                yield name, str(fault)


def stored_series(store: CompletionStore, folder: str) -> Series:
    """The series of a folder of the store.

    Raises:
        UserError: Its description is damaged, or is that of another series.
    """
    name = f"{folder}/series.json"
    try:
        return series_of(json.loads(store.files.cat_file(name)), folder.rsplit("/", 1)[-1])
    except (ValueError, RecursionError) as error:
        remedy = "Delete the file: the next completion of this series writes it again"
        raise UserError(f"not the description of this series: {error}", file=name, remedy=remedy) from error


def merged(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of a few thousand."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= MERGED_ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


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
            for number, table in enumerate(merged(table for table in stays if len(table)))
        }
        for name in set(old) - written:
            store.files.rm_file(name)
    return gone, kept
