"""Locks that die with their owner: a killed process leaves nothing behind that a person would have to clear.

The lock is the kernel's (flock), on a file that stays and that every user may open. Where a file system has no locks,
or no file can be opened, the log says so and work continues without a lock: store and cache stay whole with no lock at
all, since they write whole files only. Locks save work that would be done twice.
"""

import contextlib
import fcntl
import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
EVERYBODY = 0o666


class FileLock:
    """A lock on a file.

    Args:
        paths: Where the file lies: at the first of these places that can be used. Processes that use different places
            do not see each other's locks.
    """

    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting.

        Returns:
            Whether this process may continue: it holds the lock, or no lock can be had here.
        """
        file = self._open()
        if file is None:
            return True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        except OSError as error:
            logger.warning("this file system has no locks (%s: %s): continuing without", file.name, error)
        self._file = file
        _sign(file)
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk did not take the signature; the lock is given back
                self._file.close()
            self._file = None

    def holder(self) -> str:
        """Who holds the lock, in words."""
        for path in self.paths:
            with contextlib.suppress(OSError, ValueError, KeyError):
                found = json.loads(path.read_text(encoding="utf-8"))
                return f"process {found['process']} on {found['host']}, since {found['since']}"
        return "its process is not known"

    def _open(self) -> IO[str] | None:
        faults = []
        for path in self.paths:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                return os.fdopen(_descriptor(path), "r+", encoding="utf-8")
            except OSError as error:
                faults.append(str(error))
        logger.warning("no lock can be had (%s): continuing without", "; ".join(faults))
        return None


def _descriptor(path: Path) -> int:
    """Open a lock file, and create it for all users if it does not exist.

    An existing file is opened without O_CREAT: with it, Linux refuses a file of another user in a folder like /tmp
    (fs.protected_regular), whatever its permissions are.
    """
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL, EVERYBODY)
    except FileExistsError:  # another process has just created it
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    os.fchmod(descriptor, EVERYBODY)  # the mask of this process took permissions away
    return descriptor


def _sign(file: IO[str]) -> None:
    """Write who holds the lock, for people who wait."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    with contextlib.suppress(OSError):
        file.seek(0)
        file.truncate()
        file.write(json.dumps({"process": os.getpid(), "host": platform.node(), "since": since}))
        file.flush()


@contextmanager
def waiting_lock(path: Path, what: str) -> Iterator[bool]:
    """Hold the lock of `path`; yield whether another process held it first.

    Args:
        what: What the lock is about, for the message to the person who waits.
    """
    lock = FileLock(path)
    waited = False
    while not lock.acquire():
        if not waited:
            logger.info("%s is under way elsewhere (%s): waiting for its result", what, lock.holder())
        waited = True
        time.sleep(POLL_SECONDS)
    try:
        yield waited
    finally:
        lock.release()


def hold_for_life(path: Path) -> str | None:
    """Hold the lock of `path` until this process ends; else say who holds it."""
    lock = FileLock(path)
    if not lock.acquire():
        return lock.holder()
    _held.append(lock)
    return None


_held: list[FileLock] = []
"""Open for as long as the process lives: closing a file gives its lock back."""
