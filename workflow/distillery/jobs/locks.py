"""Locks that die with their owner: a killed process leaves nothing behind that a person would have to clear.

The lock is the kernel's (flock), on a file that stays and that every user may open. Where a file system has no locks,
or no file can be opened, the log says so and work continues without a lock: store and cache stay whole with no lock at
all, since they write whole files only. Locks save work that would be done twice.

A stopped process (SIGSTOP, Ctrl-Z, a suspended batch job) keeps its locks. Holders touch their lock files while they
live. A process that waits reports a holder that is stopped or silent, and after DISTILLERY_LOCK_TAKEOVER seconds takes
the lock over: it puts a file of its own in the place of the lock file. The former holder finds that out
(`FileLock.lost`, `check_locks`) and writes nothing more.
"""

import contextlib
import fcntl
import logging
import math
import os
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from distillery.errors import UserError
from distillery.jobs import lock_signs
from distillery.jobs.lock_signs import in_words, is_stopped, read_sign, write_sign

logger = logging.getLogger(__name__)

TAKEOVER_VARIABLE = "DISTILLERY_LOCK_TAKEOVER"
"""Seconds without a sign of life after which a lock is taken over; unset: never."""
POLL_SECONDS = 0.2
MISSED_BEATS = 3
"""As many signs of life are missed before a holder counts as silent: one may be late on a busy machine."""
SILENT_SECONDS = 60.0
"""A holder that is silent for this long is reported."""
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
        self._locked: Path | None = None

    def acquire(self) -> bool:
        """Take the lock without waiting.

        Returns:
            Whether this process may continue: it holds the lock, or no lock can be had here.
        """
        while self._file is None:
            opened = self._open()
            if opened is None:
                return True
            file, path = opened
            self._file = file  # from here on `release` closes it, also after Ctrl-C
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.release()
                return False
            except OSError as error:
                _warn_once(f"this file system has no locks ({path.parent}: {error.strerror}): continuing without")
                write_sign(file)
                return True
            if _is_at(path, file):
                self._hold(file, path)
                return True
            self.release()  # it was replaced between opening and locking
        return True

    def release(self) -> None:
        """Give the lock back."""
        _held.discard(self)
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk did not take the signature; the lock is given back
                self._file.close()
        self._file = self._locked = None

    @property
    def exclusive(self) -> bool:
        """Whether the kernel keeps others out; False where work continues without a lock."""
        return self._locked is not None

    @property
    def lost(self) -> bool:
        """Whether another process took this lock over."""
        if self._file is None or self._locked is None:
            return False
        return os.path.lexists(self._locked) and not _is_at(self._locked, self._file)

    def holder(self) -> str:
        """Who holds the lock, in words."""
        for path in self.paths:
            sign = read_sign(path)
            if sign is not None:
                return in_words(sign)
        return "its process is not known"

    def take_over(self, silent: tuple[int, int] | None) -> bool:
        """Put a new file in the place of one whose holder shows no sign of life; whether this process has the lock.

        Args:
            silent: Identity of that file (`Watch.file`); another file is another holder's.
        """
        path = self.paths[0]
        with contextlib.ExitStack() as done:
            guard = FileLock(path.with_name(f"{path.name}.takeover"))  # one process at a time takes over
            if not guard.acquire():
                return False
            done.callback(guard.release)
            if self.acquire():  # it was given back meanwhile
                return True
            sign = read_sign(path)
            if sign is None or sign["file"] != silent:  # another process was faster
                return False
            try:
                descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
                file = os.fdopen(descriptor, "r+", encoding="utf-8")
                os.fchmod(descriptor, EVERYBODY)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.replace(name, path)
            except OSError as error:
                _warn_once(f"the lock {path} cannot be taken over: {error}")
                return False
            self._hold(file, path)
            logger.warning("the lock %s is taken over from %s", path, in_words(sign))
            return True

    def beat(self) -> None:
        """Show a sign of life."""
        if self._locked is not None and not self.lost:
            with contextlib.suppress(OSError):
                os.utime(self._locked)

    def _hold(self, file: IO[str], path: Path) -> None:
        self._file, self._locked = file, path
        write_sign(file)
        _held.add(self)
        _start_beating()

    def _open(self) -> tuple[IO[str], Path] | None:
        faults = []
        for path in self.paths:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                return os.fdopen(_descriptor(path), "r+", encoding="utf-8"), path
            except OSError as error:
                faults.append(str(error))
        _warn_once(f"no lock can be had ({'; '.join(faults)}): continuing without")
        return None


class Watch:
    """A lock that another process holds, as a process that waits for it sees it.

    Args:
        what: What the lock is about, for the message to the person who waits.
        takeover: Seconds without a sign of life after which the lock may be taken over; None: the environment's.
        patience: Seconds before the waiting is reported at all.
    """

    def __init__(self, path: Path, what: str, takeover: float | None = None, patience: float = 0.0) -> None:
        self.path, self.what, self.patience = path, what, patience
        self.takeover = takeover_seconds() if takeover is None else takeover
        self.file: tuple[int, int] | None = None
        """Identity of the lock file that was looked at."""
        self._touched = 0
        self._start = self._heard = self._ran = time.monotonic()
        self._reported = self._reported_silent = False

    def look(self) -> bool:
        """Report the holder once, and once more if it is stopped or silent; whether the lock may be taken over."""
        now = time.monotonic()
        sign = read_sign(self.path)
        if sign is None:
            return False
        if sign["file"] != self.file:
            self.file, self._heard, self._ran = sign["file"], now, now
            self._reported = self._reported_silent = False
        if sign["touched"] != self._touched:
            self._touched, self._heard = sign["touched"], now
        stopped = is_stopped(sign)
        if not stopped:
            self._ran = now
        if not self._reported and now - self._start >= self.patience:
            logger.info("%s is under way elsewhere (%s): waiting for its result", self.what, in_words(sign))
            self._reported = True
        # Signs of versions that give no signs of life have no `beat`.
        silent = now - self._heard if "beat" in sign else 0.0
        if not self._reported_silent and (stopped or silent >= SILENT_SECONDS) and now - self._start >= self.patience:
            self._report_silent(sign, stopped=stopped)
        missed = MISSED_BEATS * float(sign.get("beat", lock_signs.BEAT_SECONDS))
        return now - self._ran >= self.takeover or silent >= max(self.takeover, missed)

    def _report_silent(self, sign: dict[str, Any], *, stopped: bool) -> None:
        after = (
            f"its lock is taken over after {self.takeover:g} s"
            if math.isfinite(self.takeover)
            else f"to take its lock over after some seconds, set {TAKEOVER_VARIABLE}"
        )
        logger.warning(
            "%s waits for a process that %s: %s. Continue it with `kill -CONT %s` or end it with `kill -KILL %s`; %s",
            self.what,
            "is stopped" if stopped else "shows no sign of life",
            in_words(sign),
            sign["process"],
            sign["process"],
            after,
        )
        self._reported_silent = True


def takeover_seconds() -> float:
    """Seconds without a sign of life after which a lock is taken over; infinite if the environment sets none."""
    given = os.environ.get(TAKEOVER_VARIABLE, "").strip()
    try:
        seconds = float(given) if given else math.inf
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise UserError(
            "no number of seconds above 0", key=TAKEOVER_VARIABLE, value=given, remedy="Set seconds, or leave it unset"
        )
    return seconds


@contextmanager
def waiting_lock(path: Path, what: str) -> Iterator[bool]:
    """Hold the lock of `path`; yield whether another process held it first.

    Args:
        what: What the lock is about, for the message to the person who waits.
    """
    lock = FileLock(path)
    watch: Watch | None = None
    try:
        while not lock.acquire():
            watch = watch or Watch(path, what)
            if watch.look() and lock.take_over(watch.file):
                break
            time.sleep(POLL_SECONDS)
        yield watch is not None
    finally:
        lock.release()


def hold_for_life(path: Path) -> str | None:
    """Hold the lock of `path` until this process ends; else say who holds it. Such a lock is not taken over."""
    lock = FileLock(path)
    if not lock.acquire():
        return lock.holder()
    _for_life.append(lock)
    return None


def check_locks() -> None:
    """Make sure that this process still has its locks: called before a result is published.

    Raises:
        UserError: It was stopped, and another process took a lock over.
    """
    for lock in list(_held):
        if lock.lost:
            raise UserError(
                "this process was stopped for so long that another process took over its lock; it publishes nothing",
                file=lock.paths[0],
                remedy=f"Run again, and see {TAKEOVER_VARIABLE}",
            )


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock of `path`; a stopped process is living. Needs permission to read only."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks here
        return False
    finally:
        os.close(descriptor)
    return False


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


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether this open file is the one at `path`."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(file.fileno()))
    except (OSError, ValueError):
        return False


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        logger.warning("%s", message)


def _start_beating() -> None:
    """Start the thread that shows signs of life, in this process if it has none (a fork has no threads)."""
    global _beating
    if _beating != os.getpid():
        _beating = os.getpid()
        threading.Thread(target=_beat_for_ever, daemon=True, name="signs-of-life").start()


def _beat_for_ever() -> None:
    while True:
        time.sleep(lock_signs.BEAT_SECONDS)
        for lock in list(_held):
            lock.beat()


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()
"""Locks of the kernel that this process has."""
_for_life: list[FileLock] = []
"""Open for as long as the process lives: closing a file gives its lock back."""
_warned: set[str] = set()
_beating = 0
"""Process whose thread shows signs of life."""
