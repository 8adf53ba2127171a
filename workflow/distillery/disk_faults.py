"""Faults of a disk that any code may meet (full, read-only, no permission), as errors that a user can fix.

Each is one line with the path and what to do. Libraries that are not written in Python (safetensors, torch) report such
faults as errors of their own; then their text, or else a full disk, says what is wrong.
"""

import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path

from distillery.errors import UserError

_FREE = "Free space there (`df -h` and `df -i` show it) and run again: what is complete is kept"
_DISK_FAULTS = {
    errno.ENOSPC: ("the disk is full", _FREE),
    errno.EDQUOT: ("your quota on this disk is used up", "Free space there (`quota -s` shows it) and run again"),
    errno.EFBIG: (
        "this file system or a limit permits no larger file",
        "Raise the limit (`ulimit -f`) or take another disk",
    ),
    errno.EROFS: ("this file system is read-only", "Mount it for writing, or name another folder, and run again"),
    errno.EACCES: ("permission denied", "Ask the owner for permission (`ls -ld` shows it), or name another folder"),
    errno.EPERM: (
        "the system does not permit this",
        "Ask the owner for permission (`ls -ld` shows it), or name another folder",
    ),
    errno.EIO: ("the disk cannot be read or written", "Look for faults of the disk (`dmesg`) before you run again"),
    errno.EMFILE: ("too many files are open", "Raise the limit (`ulimit -n`) and run again"),
}
_FULL_OR_BROKEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
_OF_TORCH = ("PytorchStreamWriter", "inline_container", "iostream error")
"""In errors of torch.save, which drops the system's reason."""
_LITTLE = 1 << 20
"""A disk with fewer bytes free counts as full where a library does not say why it could not write."""


def disk_fault(error: BaseException, places: Iterable[Path] = ()) -> UserError | None:
    """The fault of a disk behind an error, as one that a user can fix; None where there is none.

    Args:
        places: Where the failed code may have written; looked at where the error names no file.
    """
    seen, deliberate = error, True
    while True:
        number, file = _error_number(seen), getattr(seen, "filename", None)
        # A permission that is missing is often expected and handled: it counts only where it is the error itself.
        if number in _FULL_OR_BROKEN or (number in _DISK_FAULTS and deliberate and file is not None):
            return _fault(number, file, places)
        if any(sign in str(seen) for sign in _OF_TORCH):
            fullest = _fullest(places)
            if fullest is not None and free_bytes(fullest) < _LITTLE:
                return _fault(errno.ENOSPC, fullest, places)
        below = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
        if below is None:
            return None
        seen, deliberate = below, deliberate and seen.__cause__ is not None


def _fault(number: int, file: object, places: Iterable[Path]) -> UserError:
    problem, remedy = _DISK_FAULTS[number]
    return UserError(problem, file=_fullest(places) if file is None else file, remedy=remedy)


def _error_number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    match = re.search(r"\(os error (\d+)\)", str(error))  # as Rust writes it
    if match:
        return int(match[1])
    return next((number for number in (errno.ENOSPC, errno.EDQUOT) if os.strerror(number) in str(error)), None)


def _fullest(places: Iterable[Path]) -> Path | None:
    """The folder with the least space of those given, or the nearest that exists above each."""
    return min(sorted({nearest_folder(place) for place in places}), key=free_bytes, default=None)


def nearest_folder(place: Path) -> Path:
    """The folder at a place, or the nearest that exists above it: where what is written there will take space."""
    return next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.is_dir())


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write to the disk of a folder."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
