"""The completion store: completions of all models, shared by all experiments.

    <location>/v1/<first two digits>/<series digest>/series.json          the model's identity and the decoding
                                                    /<time>-<digest>.parquet   a unit of completions
    <location>/v1/locks/<series digest>/                                  who generates what: distillery.sampling.claims

A unit is a small Parquet file, written once, whole, and named by the digest of its bytes. Nothing is changed in place,
and a torn or corrupt unit does not match its name: it is reported and skipped. Of two completions of one key the first
written counts, for every reader. Units are added one at a time, and each is named later than the newest, whatever the
clock says. What the store has already is not added again.

Folders and files have the permissions of the location's own folder, whatever the mask of the user who writes.

Limits: nothing expires, and a person who edits a unit and renames it by its new digest is not noticed. Without locks
(an object store, a file system without flock) jobs of different machines may generate one key at the same time.
"""

import contextlib
import getpass
import hashlib
import io
import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from distillery.errors import UserError
from distillery.files import atomic_open
from distillery.jobs.locks import FileLock
from distillery.sampling.claims import write_lock
from distillery.sampling.requests import Series
from distillery.sampling.units import GIVES_WAY, SCHEMA, Stored, is_whole, rows_of, table_of, time_of

if TYPE_CHECKING:
    from distillery.sampling.writer import Writer

logger = logging.getLogger(__name__)

LOCATION_VARIABLE = "DISTILLERY_STORE"
DEFAULT_LOCATION = "work/completions"
UNIT_COMPLETIONS = 64
UNIT_SECONDS = 5.0
"""A killed job loses at most UNIT_COMPLETIONS completions, or those of the last UNIT_SECONDS seconds."""
READERS = 8
READ_AHEAD = 256
LISTINGS = 3
WRITES = 3
LEFTOVER_SECONDS = 3600.0
"""Temporary files older than this were left by killed processes."""


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

    def locks_folder(self, folder: str) -> Path:
        """Where the locks of a series' folder lie: in the store, or in the working folder for an object store."""
        if self.local:
            return Path(self.root, "v1", "locks", folder.rsplit("/", 1)[-1])
        work = Path(os.environ.get("DISTILLERY_WORK", "work"))
        return work / "locks" / hashlib.sha256(folder.encode()).hexdigest()[:32]

    def find(self, series: Series, keys: Collection[str]) -> dict[str, Stored]:
        """The completions that the store has of those wanted, by key; see `SeriesReader`."""
        reader = SeriesReader(self, series, keys)
        reader.refresh()
        return reader.answers

    def tables(
        self, series: Series | str, columns: list[str] | None = None, known: set[str] | None = None
    ) -> Iterator[tuple[str, pa.Table]]:
        """Every whole unit of a series (or of its folder) and its rows, oldest first.

        A unit that vanishes meanwhile was merged into another (`distillery store gc`): the list is read again.

        Args:
            known: Names of units that are passed over; those that are read join it.
        """
        folder = series if isinstance(series, str) else self.folder(series)
        done = set() if known is None else known
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
            if self.local:
                with os.scandir(folder) as entries:
                    names = [entry.path for entry in entries if entry.name.endswith(".parquet") and entry.is_file()]
            else:
                self.files.invalidate_cache(folder)
                names = [name for name in self.files.ls(folder, detail=False) if name.endswith(".parquet")]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise _unreadable(folder, error) from error
        return sorted(names, key=lambda name: (time_of(name), name))

    def series_folders(self) -> list[str]:
        """Folders of all series in the store."""
        self.files.invalidate_cache()
        return sorted(name.rsplit("/", 1)[0] for name in self.files.glob(f"{self.root}/v1/*/*/series.json"))

    def read_unit(self, name: str, columns: list[str] | None = None) -> pa.Table | None:
        """The rows of a unit; None for one that is torn, was changed, has another format, or is gone.

        Raises:
            UserError: It may not be read, or its disk fails: its completions exist, and are not paid for again.
        """
        try:
            data = self.files.cat_file(name)
        except (FileNotFoundError, IsADirectoryError):
            return None
        except OSError as error:
            raise _unreadable(name, error) from error
        if not is_whole(name, data):
            logger.warning("%s is torn or was changed: skipped; its completions are generated again", name)
            return None
        try:
            return rows_of(name, data, columns or SCHEMA.names)
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            logger.warning("%s is no unit of this version (%s): skipped", name, str(error).split("\n")[0])
            return None

    @contextmanager
    def writer(self, series: Series, reader: "SeriesReader | None" = None) -> Iterator["Writer"]:
        """Add completions while they come; all that was added is on disk when the block ends, however it ends."""
        from distillery.sampling.writer import Writer  # which writes to stores

        writer = Writer(self, series, reader)
        try:
            yield writer
        finally:
            writer.flush()

    def write_unit(self, series: Series, completions: Sequence[tuple[str, Stored]]) -> str:
        """Write one unit of prompts and completions, whole, and return its name."""
        return self.append(series, lambda: table_of(completions)) or ""

    def append(self, series: Series, rows: Callable[[], pa.Table]) -> str | None:
        """Add a unit after all others.

        Args:
            rows: Called when nobody else can add: the rows to add, which may be none.

        Returns:
            Name of the unit; None if there was nothing to add.
        """
        folder = self.folder(series)
        self.put_series(series)
        fault = OSError(f"other processes took over the right to write to {folder} again and again")
        for _ in range(WRITES):
            try:
                with self.exclusive(folder) as lock:
                    table = rows()
                    if not len(table):
                        return None
                    newest = self.units(folder)[-1:]
                    # A clock that was set back must not make a later completion the first of its key.
                    now = max([time.time_ns(), *(time_of(name) + 1 for name in newest)])
                    return self.put_unit(folder, table, now, lock)
            except _Overtaken:
                continue
            except FileNotFoundError as error:  # who took the lock over removed what was not finished
                fault = error
        raise fault

    @contextmanager
    def exclusive(self, folder: str) -> Iterator[FileLock]:
        """Hold the right to add units to a series' folder and to claim keys of it."""
        locks = self.locks_folder(folder)
        if self.local:
            self.make_folder(locks)
        with write_lock(locks, overtaken=lambda: self._remove_unfinished(folder, 0.0)) as lock:
            self._remove_unfinished(folder, LEFTOVER_SECONDS)
            yield lock

    def put_series(self, series: Series) -> None:
        """Write the description of a series, for people and for the tools, where it is absent or damaged."""
        described = json.dumps(series.describe(), sort_keys=True, indent=2).encode()
        name = f"{self.folder(series)}/series.json"
        with contextlib.suppress(FileNotFoundError):
            if self.files.cat_file(name) == described:
                return
        self.put(name, described)

    def put_unit(self, folder: str, table: pa.Table, time_ns: int, lock: FileLock | None = None) -> str:
        """Write a table as a unit of that time, and return its name."""
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        data = buffer.getvalue()
        name = f"{folder}/{time_ns:020d}-{hashlib.sha256(data).hexdigest()[:32]}.parquet"
        self.put(name, data, lock)
        return name

    def put(self, name: str, data: bytes, lock: FileLock | None = None) -> None:
        """Write a file whole; not at all if another process took the lock over meanwhile."""
        if not self.local:
            self.files.pipe_file(name, data)  # object stores show an object only when it is complete
            return
        path = Path(name)
        self.make_folder(path.parent)
        with atomic_open(path, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
            if lock is not None and lock.lost:
                raise _Overtaken
        shared = stat.S_IMODE(Path(self.root).stat().st_mode) & 0o666
        if stat.S_IMODE(path.stat().st_mode) != shared:
            path.chmod(shared)

    def make_folder(self, folder: Path) -> None:
        """Make a folder of the store, with the permissions of the store's own folder: who may write there may here."""
        root = Path(self.root)
        root.mkdir(parents=True, exist_ok=True)
        if folder.is_dir():
            return
        mode = stat.S_IMODE(root.stat().st_mode)
        for part in [*reversed(folder.relative_to(root).parents), folder.relative_to(root)][1:]:
            with contextlib.suppress(FileExistsError):
                (root / part).mkdir()
                (root / part).chmod(mode)

    def check_writable(self, series: Series) -> None:
        """Make sure that this user may add completions of a series: before anything is paid for.

        A file that is made and removed also makes a network file system forget what it knows of the folder.

        Raises:
            UserError: The user may not, or the disk is full.
        """
        if not self.local:
            return
        folder = Path(self.folder(series))
        for place in (folder, self.locks_folder(str(folder))):
            try:
                self.make_folder(place)
                with tempfile.TemporaryFile(dir=place) as probe:
                    probe.write(b"0")
            except OSError as error:
                raise UserError(
                    f"user {_user()} cannot write to the completion store ({error.strerror}); nothing was requested",
                    file=place,
                    remedy="To share a store see docs/how-to.md, or set DISTILLERY_STORE to a folder of your own",
                ) from error

    def _remove_unfinished(self, folder: str, older_than_seconds: float) -> None:
        """Remove temporary files of units: nobody but the holder of the lock writes any."""
        if not self.local:
            return
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") and ".parquet." in entry.name:
                    with contextlib.suppress(OSError):
                        if time.time() - entry.stat(follow_symlinks=False).st_mtime >= older_than_seconds:
                            os.unlink(entry.path)


class _Overtaken(Exception):
    """Another process took the lock over, while this one was stopped: the write begins again."""


class SeriesReader:
    """The answers that a store has to some requests of a series. Each unit is read once.

    Of two completions of one key the one written first counts, for every reader. One that failed or was refused gives
    way to a later one that was not: that one was requested again.

    Args:
        keys: Those wanted.
    """

    def __init__(self, store: CompletionStore, series: Series, keys: Collection[str]) -> None:
        self.answers: dict[str, Stored] = {}
        self.recent: dict[str, list[Stored]] = {}
        """Completions, by key, that came since the first reading."""
        self._store, self._series, self._keys = store, series, set(keys)
        self._known: set[str] = set()
        self._places: dict[str, tuple[int, int, str, int]] = {}
        self._first = True

    def refresh(self) -> None:
        """Read the units that are new."""
        names = [field.name for field in fields(Stored)]
        for unit, table in self._store.tables(self._series, names, self._known):
            mask = [key in self._keys for key in table["key"].to_pylist()]
            if not any(mask):
                continue
            here = table if all(mask) else table.filter(pa.array(mask))
            for row, values in enumerate(zip(*(here[name].to_pylist() for name in names), strict=True)):
                self._see(Stored(*values), unit, row)
            if self._first and self._is_complete():
                break
        self._first = False

    def settled(self, key: str) -> bool:
        """Whether no completion that is added now can count."""
        return key in self.answers and not GIVES_WAY.get(self.answers[key].finish_reason)

    def _is_complete(self) -> bool:
        return len(self.answers) == len(self._keys) and all(map(self.settled, self.answers))

    def _see(self, stored: Stored, unit: str, row: int) -> None:
        if not self._first:
            self.recent.setdefault(stored.key, []).append(stored)
        place = (GIVES_WAY.get(stored.finish_reason, 0), time_of(unit), unit, row)
        if stored.key not in self._places or place < self._places[stored.key]:
            self._places[stored.key], self.answers[stored.key] = place, stored


def _unreadable(name: str, error: OSError) -> UserError:
    return UserError(
        f"user {_user()} cannot read this part of the completion store ({error.strerror}); nothing was requested",
        file=name,
        remedy="Its completions are paid for: get permission to read it (docs/how-to.md, Share a store), or remove it",
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return str(os.getuid())
