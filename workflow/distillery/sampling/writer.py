"""Writing completions to the store while they come, and to a place of the user's own where the store fails."""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from distillery.errors import UserError
from distillery.sampling import store as limits
from distillery.sampling.requests import Series
from distillery.sampling.store import CompletionStore, SeriesReader
from distillery.sampling.units import Stored, table_of

logger = logging.getLogger(__name__)


class Writer:
    """Collects completions and writes a unit when enough have come or enough time has passed.

    Interrupted at any point, it loses nothing and writes nothing twice: a completion leaves it after it is written, and
    what the store has is not written again.

    Args:
        reader: Knows what the store has of the keys that are added; None for keys that nobody else adds.
    """

    def __init__(self, store: CompletionStore, series: Series, reader: SeriesReader | None = None) -> None:
        self._store, self._series, self._reader = store, series, reader
        self._waiting: dict[str, tuple[str, Stored]] = {}
        self._written: set[str] = set()
        self._since = time.monotonic()
        self.fault: Exception | None = None
        """Why the store could not be written; completions then go to a place of this user's own."""

    def add(self, prompt: str, completion: Stored) -> None:
        """Take a completion; one of a key that was added before changes nothing."""
        if completion.key in self._written:
            return
        self._waiting.setdefault(completion.key, (prompt, completion))
        if len(self._waiting) >= limits.UNIT_COMPLETIONS or time.monotonic() - self._since >= limits.UNIT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the completions that have no unit yet.

        Raises:
            UserError: The store could not be written; they are kept in another place.
        """
        if any(key not in self._written for key in self._waiting):
            try:
                if self.fault is not None:
                    raise self.fault
                self._store.append(self._series, self._rows)
            except Exception as fault:
                first, self.fault = self.fault is None, fault
                problem = self._rescue()
                if first:
                    raise problem from fault
            else:
                self._written.update(self._waiting)
        self._waiting = {key: row for key, row in self._waiting.items() if key not in self._written}
        self._since = time.monotonic()

    def _rows(self) -> pa.Table:
        waiting = list(self._waiting.values())
        if self._reader is not None:
            self._reader.refresh()
            waiting = [
                (prompt, completion)
                for prompt, completion in waiting
                if not self._reader.settled(completion.key)
                and completion not in self._reader.recent.get(completion.key, ())
            ]
        return table_of(waiting)

    def _rescue(self) -> UserError:
        """Keep what waits in a place of this user's own, from where the next run takes it; the error to raise."""
        for place in rescue_places():
            with contextlib.suppress(OSError):
                CompletionStore(str(place)).append(self._series, lambda: table_of(list(self._waiting.values())))
                self._written.update(self._waiting)
                logger.warning("%d completions are kept in %s", len(self._waiting), place)
                return UserError(
                    f"the completion store cannot be written: {self.fault}; what came is kept in {place}",
                    file=self._store.folder(self._series),
                    remedy="Make room or get permission to write, and run again: it is put into the store then",
                )
        places = ", ".join(map(str, rescue_places()))
        return UserError(
            f"neither the completion store can be written, nor {places}: {self.fault}",
            file=self._store.folder(self._series),
            remedy="Make room or get permission to write, and run again",
        )


def rescue_places() -> list[Path]:
    """Where completions are kept that the store could not take: paid for, and not in vain."""
    places = [Path(os.environ.get("DISTILLERY_WORK", "work")).absolute()]
    with contextlib.suppress(RuntimeError):  # a user without a home
        places.append(Path.home() / ".cache" / "distillery")
    return [place / "rescued" for place in places]


def take_in_rescued(store: CompletionStore, series: Series) -> None:
    """Move completions of a series that an earlier run could not write into the store."""
    for place in rescue_places():
        rescue = CompletionStore(str(place))
        if not os.access(rescue.folder(series), os.R_OK | os.W_OK | os.X_OK):
            continue
        for name, table in rescue.tables(series):
            rows = [(prompt, Stored(**stored)) for stored, prompt in _split(table)]
            with store.writer(series, SeriesReader(store, series, {stored.key for _, stored in rows})) as writer:
                for prompt, stored in rows:
                    writer.add(prompt, stored)
            logger.warning("%d completions of an earlier run are moved from %s into the store", len(rows), name)
            with contextlib.suppress(FileNotFoundError):  # another process has moved it, too
                rescue.files.rm_file(name)


def _split(table: pa.Table) -> Iterator[tuple[dict[str, Any], str]]:
    for row in table.to_pylist():
        prompt = row.pop("prompt")
        yield row, prompt
