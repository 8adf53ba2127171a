"""The completion store: completions of all models, shared by all experiments.

    <location>/v1/<first two digits>/<series digest>/series.json          the model's identity and the decoding
                                                    /<time>-<digest>.parquet   a unit of completions

A unit is a small Parquet file, written once, whole, and named by the digest of its bytes. Nothing is ever changed in
place, so writers of several jobs and hosts need no lock, and a torn or corrupt unit does not match its name: it is
reported and skipped. Of two completions of one key the first written counts, for every reader.

Limits: nothing expires, and a person who edits a unit and renames it by its new digest is not noticed.
"""

import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from distillery.files import atomic_open
from distillery.sampling.requests import Series

logger = logging.getLogger(__name__)

LOCATION_VARIABLE = "DISTILLERY_STORE"
DEFAULT_LOCATION = "work/completions"
UNIT_COMPLETIONS = 64
UNIT_SECONDS = 5.0
"""A killed job loses at most UNIT_COMPLETIONS completions, or those of the last UNIT_SECONDS seconds."""
READERS = 8
READ_AHEAD = 256
LISTINGS = 3


@dataclass(frozen=True, slots=True)
class Stored:
    """A completion as the store gives it back; the prompt that it answers is kept beside it."""

    key: str
    sample_index: int
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("prompt", pa.string()),
        ("sample_index", pa.int32()),
        ("text", pa.string()),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
    ]
)


class CompletionStore:
    """A store at a location: a local or shared folder, or any URL that fsspec opens (`s3://bucket/prefix`).

    Args:
        location: None takes the environment variable DISTILLERY_STORE, else `work/completions`.
    """

    def __init__(self, location: str | None = None) -> None:
        self.location = location or os.environ.get(LOCATION_VARIABLE) or DEFAULT_LOCATION
        self.files, self.root = fsspec.core.url_to_fs(self.location)
        self.local = "file" in (
            self.files.protocol if isinstance(self.files.protocol, tuple) else (self.files.protocol,)
        )

    def folder(self, series: Series) -> str:
        return f"{self.root}/v1/{series.digest[:2]}/{series.digest}"

    def find(self, series: Series, keys: Collection[str]) -> dict[str, Stored]:
        """The completions that the store has of those wanted, by key.

        Of two completions of one key the one written first counts, for every reader. One that failed gives way to a
        later one that did not: that one was requested again.
        """
        wanted = set(keys)
        found: dict[str, Stored] = {}
        failed: dict[str, Stored] = {}
        names = [field.name for field in fields(Stored)]
        for _, table in self.tables(series, names):
            mask = [key in wanted for key in table["key"].to_pylist()]
            if not any(mask):
                continue
            here = table if all(mask) else table.filter(pa.array(mask))
            for values in zip(*(here[name].to_pylist() for name in names), strict=True):
                stored = Stored(*values)
                (failed if stored.finish_reason == "failed" else found).setdefault(stored.key, stored)
            if len(found) == len(wanted):
                break
        return failed | found

    def tables(self, series: Series | str, columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Every whole unit of a series (or of its folder) and its rows, oldest first.

        A unit that vanishes meanwhile was merged into another (`distillery store gc`): the list is read again.
        """
        folder = series if isinstance(series, str) else self.folder(series)
        done: set[str] = set()
        for _ in range(LISTINGS):
            todo = [name for name in self.units(folder) if name not in done]
            vanished = False
            with ThreadPoolExecutor(READERS) as pool:
                for start in range(0, len(todo), READ_AHEAD):
                    batch = todo[start : start + READ_AHEAD]
                    read = pool.map(lambda name: self.read_unit(name, columns), batch)
                    for name, table in zip(batch, read, strict=True):
                        done.add(name)
                        if table is None:
                            vanished = vanished or not self.files.exists(name)
                        else:
                            yield name, table
            if not vanished:
                return

    def units(self, folder: str) -> list[str]:
        """Unit files of a series' folder, oldest first: their names begin with the time of writing."""
        try:
            self.files.invalidate_cache(folder)
            names = self.files.ls(folder, detail=False)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if name.endswith(".parquet"))

    def series_folders(self) -> list[str]:
        """Folders of all series in the store."""
        self.files.invalidate_cache()
        return sorted(name.rsplit("/", 1)[0] for name in self.files.glob(f"{self.root}/v1/*/*/series.json"))

    def read_unit(self, name: str, columns: list[str] | None = None) -> pa.Table | None:
        """The rows of a unit; None for one that is torn, was changed, or is gone."""
        try:
            data = self.files.cat_file(name)
        except FileNotFoundError:
            return None
        if not is_whole(name, data):
            logger.warning("%s is torn or was changed: skipped; its completions are generated again", name)
            return None
        # One thread for each unit: they are small, and many are read at a time.
        return pq.ParquetFile(pa.BufferReader(data)).read(columns, use_threads=False)

    @contextmanager
    def writer(self, series: Series) -> Iterator["Writer"]:
        """Add completions while they come; all that was added is on disk when the block ends, however it ends."""
        writer = Writer(self, series)
        try:
            yield writer
        finally:
            writer.flush()

    def write_unit(self, series: Series, completions: list[tuple[str, Stored]]) -> str:
        """Write one unit of prompts and completions, whole, and return its name."""
        columns: dict[str, list[Any]] = {
            field.name: [getattr(completion, field.name) for _, completion in completions] for field in fields(Stored)
        }
        table = pa.table({**columns, "prompt": [prompt for prompt, _ in completions]}).select(SCHEMA.names).cast(SCHEMA)
        self.put_series(series)
        folder = self.folder(series)
        newest = self.units(folder)[-1:]
        # A clock that was set back must not make a later completion the first of its key.
        return self.put_unit(folder, table, max([time.time_ns(), *(time_of(name) + 1 for name in newest)]))

    def put_series(self, series: Series) -> None:
        """Write the description of a series, for people and for the tools."""
        described = json.dumps(series.describe(), sort_keys=True, indent=2).encode()
        self.put(f"{self.folder(series)}/series.json", described, once=True)

    def put_unit(self, folder: str, table: pa.Table, time_ns: int) -> str:
        """Write a table as a unit of that time, and return its name."""
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        data = buffer.getvalue()
        name = f"{folder}/{time_ns:020d}-{hashlib.sha256(data).hexdigest()[:32]}.parquet"
        self.put(name, data)
        return name

    def put(self, name: str, data: bytes, once: bool = False) -> None:
        """Write a file whole."""
        if once and self.files.exists(name):
            return
        if self.local:
            with atomic_open(Path(name), "wb") as out:
                out.write(data)
        else:
            self.files.pipe_file(name, data)  # object stores show an object only when it is complete


def time_of(name: str) -> int:
    """Time of writing of a unit, in nanoseconds, from its name; 0 for a foreign file."""
    digits = name.rsplit("/", 1)[-1].split("-")[0]
    return int(digits) if digits.isascii() and digits.isdecimal() else 0


def is_whole(name: str, data: bytes) -> bool:
    """Whether the digest in a unit's name is that of its bytes."""
    stem = name.rsplit("/", 1)[-1].removesuffix(".parquet")
    return hashlib.sha256(data).hexdigest()[:32] == stem.rsplit("-", 1)[-1]


class Writer:
    """Collects completions and writes a unit when enough have come or enough time has passed."""

    def __init__(self, store: CompletionStore, series: Series) -> None:
        self._store, self._series = store, series
        self._waiting: list[tuple[str, Stored]] = []
        self._since = time.monotonic()

    def add(self, prompt: str, completion: Stored) -> None:
        self._waiting.append((prompt, completion))
        if len(self._waiting) >= UNIT_COMPLETIONS or time.monotonic() - self._since >= UNIT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the completions that have no unit yet."""
        if self._waiting:
            self._store.write_unit(self._series, self._waiting)
        self._waiting, self._since = [], time.monotonic()
