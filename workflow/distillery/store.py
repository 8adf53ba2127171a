"""The completion store: what models wrote, kept for ever, shared by all experiments.

    <location>/v1/<first two digits>/<series digest>/series.json          which weights, drawn how
                                                    /<time>-<digest>.parquet   a unit of completions

A unit is a small Parquet file, written once, whole, and named by the digest of its bytes. Nothing is ever changed in
place, so writers of several jobs and hosts need no lock, and a torn or corrupt unit is told by its name: it is reported
and skipped. Of two completions of one key the one written first counts, for every reader.

What this does not do: it does not expire anything, and it does not guard against a person who edits files and renames
them by their new digest.
"""

import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from distillery.files import atomic_open
from distillery.requests import Series

logger = logging.getLogger("distillery.store")

LOCATION_VARIABLE = "DISTILLERY_STORE"
DEFAULT_LOCATION = "work/completions"
UNIT_COMPLETIONS = 64
UNIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A completion as the store keeps it, prompt included."""

    key: str
    prompt: str
    sample_index: int
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


_SCHEMA = pa.schema(
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
        """The completions that are there, of those asked for, by key."""
        wanted = set(keys)
        found: dict[str, Stored] = {}
        for name in self._units(series):
            table = self._read_unit(name)
            if table is None:
                continue
            here = [place for place, key in enumerate(table["key"].to_pylist()) if key in wanted]
            for row in table.take(here).to_pylist() if here else []:
                found.setdefault(row["key"], Stored(**row))
            if len(found) == len(wanted):
                break
        return found

    def _units(self, series: Series) -> list[str]:
        """Unit files of a series, oldest first: their names begin with the time of writing."""
        try:
            self.files.invalidate_cache(self.folder(series))
            names = self.files.ls(self.folder(series), detail=False)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if name.endswith(".parquet"))

    def _read_unit(self, name: str) -> pa.Table | None:
        try:
            data = self.files.cat_file(name)
        except FileNotFoundError:
            return None  # collected by another process since it was listed
        stem = name.rsplit("/", 1)[-1].removesuffix(".parquet")
        if hashlib.sha256(data).hexdigest()[:32] != stem.rsplit("-", 1)[-1]:
            logger.warning("%s is torn or was changed: skipped; its completions are asked anew", name)
            return None
        return pq.read_table(io.BytesIO(data))

    @contextmanager
    def writer(self, series: Series) -> Iterator["Writer"]:
        """Add completions while they come; all that was added is on disk when the block ends, however it ends."""
        writer = Writer(self, series)
        try:
            yield writer
        finally:
            writer.flush()

    def write_unit(self, series: Series, completions: list[Stored]) -> str:
        """Write one unit whole and return its name."""
        columns: dict[str, list[Any]] = {
            field.name: [getattr(one, field.name) for one in completions] for field in fields(Stored)
        }
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns, schema=_SCHEMA), buffer, compression="zstd")
        data = buffer.getvalue()
        folder = self.folder(series)
        self._put(f"{folder}/series.json", json.dumps(series.describe(), sort_keys=True, indent=2).encode(), once=True)
        name = f"{folder}/{time.time_ns():020d}-{hashlib.sha256(data).hexdigest()[:32]}.parquet"
        self._put(name, data)
        return name

    def _put(self, name: str, data: bytes, once: bool = False) -> None:
        if once and self.files.exists(name):
            return
        if self.local:
            with atomic_open(Path(name), "wb") as out:
                out.write(data)
        else:
            self.files.pipe_file(name, data)  # object stores show an object only when it is complete


class Writer:
    """Collects completions and writes a unit when enough have come or enough time has passed."""

    def __init__(self, store: CompletionStore, series: Series) -> None:
        self._store, self._series = store, series
        self._waiting: list[Stored] = []
        self._since = time.monotonic()

    def add(self, completion: Stored) -> None:
        self._waiting.append(completion)
        if len(self._waiting) >= UNIT_COMPLETIONS or time.monotonic() - self._since >= UNIT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits, if anything does."""
        if self._waiting:
            self._store.write_unit(self._series, self._waiting)
        self._waiting, self._since = [], time.monotonic()
