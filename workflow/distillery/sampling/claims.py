"""Claims: which process generates which keys of a series, so that none is generated and paid for twice.

    <store>/v1/locks/<series digest>/write           held for the moment in which a process claims keys or adds a unit
                                    /<claim>.lock    held by the process that generates the keys of a claim
                                    /<claim>.keys    these keys, one a line

A claim ends with its process, however that ends: the lock is the kernel's. A process takes what nobody else has
claimed, generates it, gives its claim back, and only then waits for the claims of others. So no two processes wait for
each other. A claim of a stopped process ends as other locks do (`distillery.jobs.locks`).

Object stores have no locks: there these files lie in the working folder, and jobs of other folders do not see them.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from distillery.errors import UserError
from distillery.files import atomic_open
from distillery.jobs.locks import FileLock, Watch, is_held, takeover_seconds

WRITE_POLL_SECONDS = 0.02
WRITE_PATIENCE_SECONDS = 5.0
WRITE_TAKEOVER_SECONDS = 60.0
"""A process that stopped while it added a unit holds up everybody, and takes no harm: what it adds later is checked."""
POLL_SECONDS = (0.1, 2.0)
"""First and longest pause between two looks at the claims of others."""


@contextmanager
def write_lock(folder: Path, overtaken: Callable[[], None]) -> Iterator[FileLock]:
    """Hold the right to claim keys of a series and to add units to it; `lost` is asked again before a unit appears.

    Args:
        folder: Of the series' locks.
        overtaken: Called where the lock is taken over, before the block: makes what the former holder began useless.
    """
    lock = FileLock(folder / "write")
    watch: Watch | None = None
    takeover = min(WRITE_TAKEOVER_SECONDS, takeover_seconds())
    with contextlib.ExitStack() as at_the_end:
        at_the_end.callback(lock.release)  # twice: after Ctrl-C in the first, what is kept next needs this lock
        at_the_end.callback(lock.release)
        while not lock.acquire():
            watch = watch or Watch(lock.paths[0], "a write to the store", takeover, WRITE_PATIENCE_SECONDS)
            if watch.look() and lock.take_over(watch.file):
                overtaken()
                break
            time.sleep(WRITE_POLL_SECONDS)
        yield lock


class Claim:
    """Keys that this process generates: from `make` until `close` or the end of the process."""

    def __init__(self, folder: Path) -> None:
        self._lock = FileLock(folder / f"{uuid.uuid4().hex}.lock")

    def make(self, keys: Iterable[str]) -> None:
        """Claim keys. Needs the write lock: for a moment the files look like those of a dead claim."""
        path = self._lock.paths[0].with_suffix(".keys")
        with atomic_open(path) as out:
            out.write("".join(f"{key}\n" for key in keys))
        path.chmod(0o644)
        self._lock.acquire()

    def check(self) -> None:
        """Make sure that the claim is still this process's own.

        Raises:
            UserError: This process was stopped, and another one took the keys over.
        """
        if self._lock.exclusive and (self._lock.lost or not self._lock.paths[0].exists()):
            raise UserError(
                "this process was stopped for so long that another process took over its requests",
                file=self._lock.paths[0],
                remedy="Run again: what came back is in the store",
            )

    def close(self) -> None:
        """Give the claim back."""
        if self._lock.exclusive and not self._lock.lost:
            _remove(self._lock.paths[0])
        self._lock.release()


class ForeignClaims:
    """The claims of other processes on keys of a series.

    Args:
        what: What is waited for, for the message to the person who waits.
    """

    def __init__(self, folder: Path, what: str) -> None:
        self._folder, self._what = folder, what
        self._keys: dict[Path, frozenset[str]] = {}
        self._watches: dict[Path, Watch] = {}
        self._pause = POLL_SECONDS[0]

    def keys(self) -> set[str]:
        """All keys that living processes have claimed. Removes dead claims, so call it under the write lock only."""
        living = self._living()
        for path in set(self._folder.glob("*.lock")) - living.keys():
            _remove(path)
        return {key for keys in living.values() for key in keys}

    def wait(self, wanted: set[str]) -> None:
        """Pause for a moment; report who is waited for, and end claims of processes that stopped."""
        for path, keys in self._living().items():
            if not keys & wanted:
                continue
            if path not in self._watches:
                self._watches[path] = Watch(path, f"{self._what}: {len(keys & wanted)} completions")
            if self._watches[path].look():
                _remove(path)
        time.sleep(self._pause)
        self._pause = min(self._pause * 1.5, POLL_SECONDS[1])

    def _living(self) -> dict[Path, frozenset[str]]:
        held = [path for path in self._folder.glob("*.lock") if is_held(path)]
        for path in held:
            if path not in self._keys:
                self._keys[path] = _read_keys(path.with_suffix(".keys"))
        return {path: self._keys[path] for path in held}


def _read_keys(path: Path) -> frozenset[str]:
    try:
        return frozenset(path.read_text(encoding="ascii", errors="replace").split("\n")) - {""}
    except OSError:
        return frozenset()


def _remove(lock: Path) -> None:
    """Remove the two files of a claim; those of another user in a sticky folder stay, and are no claim."""
    for path in (lock, lock.with_suffix(".keys")):
        with contextlib.suppress(OSError):
            os.unlink(path)
