"""Locks that die with their owner: a killed process leaves nothing behind that a person would have to clear.

The lock is the kernel's (flock), on a file that stays. Where a file system has no locks, work goes on without: the
stores and the cache stay whole with no lock at all, since they write whole files only; locks save double work.
"""

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
from typing import IO, Any

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2


@contextmanager
def waiting_lock(path: Path, what: str) -> Iterator[bool]:
    """Hold the lock of `path`; yield whether another process held it first.

    Args:
        what: What the lock is about, for the message to the one who waits.
    """
    file = _opened(path)
    if file is None:
        yield False
        return
    with file:
        waited = False
        while not _try(file):
            if not waited:
                logger.info("%s is under way elsewhere (%s): waiting for its result", what, _holder(file))
            waited = True
            time.sleep(POLL_SECONDS)
        _sign(file)
        yield waited


def hold_for_life(path: Path) -> str | None:
    """Hold the lock of `path` until this process ends; else say who holds it."""
    file = _opened(path)
    if file is None:
        return None
    if not _try(file):
        holder = _holder(file)
        file.close()
        return holder
    _sign(file)
    _held.append(file)
    return None


_held: list[IO[str]] = []
"""Open for as long as the process lives: closing a file gives its lock back."""


def _opened(path: Path) -> IO[str] | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a+", encoding="utf-8")
    except OSError as error:
        logger.debug("no lock at %s: %s", path, error)
        return None


def _try(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        logger.debug("no locks on this file system: %s", error)
    return True


def _sign(file: IO[str]) -> None:
    """Write who holds the lock, for people who wait."""
    me: dict[str, Any] = {"process": os.getpid(), "host": platform.node()}
    try:
        file.truncate(0)
        file.write(json.dumps({**me, "since": datetime.now(UTC).isoformat(timespec="seconds")}))
        file.flush()
    except OSError:
        return


def _holder(file: IO[str]) -> str:
    try:
        file.seek(0)
        told = json.loads(file.read())
        return f"process {told['process']} on {told['host']}, since {told['since']}"
    except (OSError, ValueError, KeyError):
        return "its process is not known"
