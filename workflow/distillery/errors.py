"""One error for everything that a user can fix: it names the file, the line, the key, the value and the remedy.

A fault of the disk that any code may meet (full, read-only, no permission) is turned into that error by `disk_fault`.
"""

import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """Bad input from the user. Printed as one line each, without a traceback.

    Args:
        problem: What is wrong, in words that a user of the workflow knows.
        file: The file that holds the fault, as the user would open it.
        key: Where in the file: a dotted path (`train.learning_rate`) or a row (`row 17`).
        value: The offending value, shown as written.
        remedy: What to do about it, in the imperative.
        line: Line of the file where the fault was typed, from 1.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: object = None,
        key: str | None = None,
        value: object = None,
        remedy: str | None = None,
        line: int | None = None,
    ) -> None:
        self.problem, self.file, self.key, self.value, self.remedy = problem, file, key, value, remedy
        self.line = line
        super().__init__(str(self))

    def __str__(self) -> str:
        file = f"{self.file}:{self.line}" if self.file is not None and self.line is not None else self.file
        place = ": ".join(str(part) for part in (file, self.key) if part is not None)
        shown = "" if self.value is None else f" = {self.value!r}"
        text = f"{place}{shown}: {self.problem}" if place else self.problem
        return f"{text}. {self.remedy}" if self.remedy else text


class UserErrors(UserError):
    """Several faults found in one pass: all are shown, so that the user fixes them in one go."""

    def __init__(self, errors: list[UserError]) -> None:
        self.errors = errors
        Exception.__init__(self, str(self))

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


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
_LITTLE = 1 << 20
"""A disk with fewer bytes free counts as full where a library does not say why it could not write."""


def disk_fault(error: BaseException, places: Iterable[Path] = ()) -> UserError | None:
    """The fault of a disk behind an error, as one that a user can fix; None where there is none.

    Libraries that are not written in Python (safetensors, torch) report such faults as errors of their own. Then the
    text of the error, or else a full disk, says what is wrong.

    Args:
        places: Where the failed code may have written; looked at where the error names no file.
    """
    seen, deliberate = error, True
    while True:
        number, file = _error_number(seen), getattr(seen, "filename", None)
        # A permission that is missing is often expected and handled: it counts only where it is the error itself.
        if number in _FULL_OR_BROKEN or (number in _DISK_FAULTS and deliberate and file is not None):
            return _fault(number, file, places)
        if "PytorchStreamWriter" in str(seen):  # of torch.save, which drops the system's reason
            fullest = _fullest(places)
            if fullest is not None and _free(fullest) < _LITTLE:
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
    folders = {
        next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.is_dir()) for place in places
    }
    return min(sorted(folders), key=_free, default=None)


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
