"""Files and folders that are written beside their place and moved there once they are complete.

A temporary copy is called `.<name>.<boot>-<random>.tmp`: the name of its place, eight digits of the kernel's boot
identifier, and a random part. The process that writes it holds the kernel's lock (flock) on it, and the lock ends with
the process. So the first process that writes into a folder recognises what killed processes left there, and removes it:

- a copy of this boot whose lock is free, at once;
- a copy of another machine or an earlier boot whose lock is free, or any copy where the file system has no locks, once
  nothing in it was changed for a day.

The kernel applies the mask of permissions (umask) to each new file and folder. The mask itself is never set, since
other threads would create their files with it.
"""

import contextlib
import errno
import fcntl
import functools
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SUFFIX = ".tmp"
ABANDONED_SECONDS = 86_400.0
NAME_BYTES = 180
"""Of the place's own name that are kept: a file name has at most 255 bytes."""

DISK_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE}
)
"""Errors of a file system that a person has to look after, whatever was written."""

_TEMPORARY = re.compile(r"\..*\.([0-9a-f]{8})-[0-9a-f]{8}\.tmp", re.DOTALL)
_swept: set[Path] = set()


@contextlib.contextmanager
def replacement(place: Path, folder: int | None = None) -> Iterator[int]:
    """A new file, open for reading and writing, that takes its place at the end; after an exception nothing is left.

    The content is on disk before the name is (fsync, then rename), so that a crash leaves the old file or the new one.

    Args:
        folder: Descriptor of the folder of `place`, where that must not be looked up by its path.

    Raises:
        OSError: It cannot be written; `filename` is the place.
    """
    with naming(place), _folder_of(place, folder) as within:
        descriptor, name = _claimed(place.name, within, _new_file)
        try:
            yield descriptor
            os.fsync(descriptor)
            os.replace(name, place.name, src_dir_fd=within, dst_dir_fd=within)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=within)
            raise
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def replacement_folder(place: Path) -> Iterator[Path]:
    """A new folder that takes its place at the end, where an older one is removed; after an exception nothing is left.

    A folder cannot be renamed over another: a kill in between leaves none, never half of one.
    """
    with temporary_folder(place) as made:
        yield made
        remove(place)
        made.rename(place)


@contextlib.contextmanager
def temporary_folder(place: Path) -> Iterator[Path]:
    """A new folder beside `place` that is removed at the end."""
    with naming(place), _folder_of(place, None) as within:
        descriptor, name = _claimed(place.name, within, _new_folder)
        try:
            yield place.with_name(name)
        finally:
            shutil.rmtree(name, ignore_errors=True, dir_fd=within)
            os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, a link (never what it leads to) or a folder with all that is in it, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_temporary(name: str) -> bool:
    """Is this the name of a temporary copy?"""
    return _TEMPORARY.fullmatch(name) is not None


def remove_abandoned(folder: int | Path) -> int:
    """Remove the temporary copies in a folder that killed processes left; return how many."""
    with contextlib.suppress(OSError), _opened(folder) as within:
        names = [name for name in os.listdir(within) if is_temporary(name)]
        return sum(_removed(name, within) for name in names)
    return 0


def remove_all_abandoned(root: Path) -> int:
    """Remove the temporary copies that killed processes left anywhere below a folder; return how many."""
    return sum(
        remove_abandoned(Path(folder))
        for folder, folders, files in os.walk(root)
        if any(map(is_temporary, (*folders, *files)))  # so that most folders are listed once
    )


def _removed(name: str, within: int) -> bool:
    found = os.stat(name, dir_fd=within, follow_symlinks=False)
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return False
    try:
        # NFS locks a file for one process only if that may write to it.
        access = os.O_RDONLY if stat.S_ISDIR(found.st_mode) else os.O_RDWR
        descriptor = os.open(name, access | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=within)
    except OSError:  # of another user, or gone
        return False
    try:
        if not _abandoned(descriptor, name):
            return False
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(name, ignore_errors=True, dir_fd=within)
        else:
            os.unlink(name, dir_fd=within)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _abandoned(descriptor: int, name: str) -> bool:
    """Is the owner of a copy dead? The caller holds its lock, where there are locks, until it has removed the copy."""
    match = _TEMPORARY.fullmatch(name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    else:
        if match is not None and match[1] == _boot():
            return True
    return time.time() - _newest(descriptor) > ABANDONED_SECONDS


def _newest(descriptor: int) -> float:
    """When a file, or anything in a folder, was changed last."""
    times = [os.fstat(descriptor).st_mtime]
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        for _, folders, files, within in os.fwalk(dir_fd=descriptor):
            for name in (*folders, *files):
                with contextlib.suppress(OSError):
                    times.append(os.stat(name, dir_fd=within, follow_symlinks=False).st_mtime)
    return max(times)


@contextlib.contextmanager
def _folder_of(place: Path, folder: int | None) -> Iterator[int]:
    """The folder of a place, made if need be; what killed processes left in it is removed, once for each process."""
    if folder is None:
        place.parent.mkdir(parents=True, exist_ok=True)
    with _opened(place.parent if folder is None else folder) as within:
        if place.parent.absolute() not in _swept:
            _swept.add(place.parent.absolute())
            remove_abandoned(within)
        yield within


@contextlib.contextmanager
def _opened(folder: int | Path) -> Iterator[int]:
    if isinstance(folder, int):
        yield folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _claimed(name: str, within: int, create: Callable[[str, int], int]) -> tuple[int, str]:
    """A new temporary copy that this process has locked, open, and its name."""
    kept = name.encode(errors="surrogateescape")[:NAME_BYTES].decode(errors="ignore")
    while True:
        made = f".{kept}.{_boot()}-{secrets.token_hex(4)}{SUFFIX}"
        try:
            descriptor = create(made, within)
        except FileExistsError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # a process that removes abandoned copies was faster: this one is lost
            os.close(descriptor)
            continue
        except OSError:  # no locks here: others leave the copy alone for a day
            pass
        if os.fstat(descriptor).st_nlink:
            return descriptor, made
        os.close(descriptor)


def _new_file(name: str, within: int) -> int:
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666, dir_fd=within)


def _new_folder(name: str, within: int) -> int:
    os.mkdir(name, 0o777, dir_fd=within)
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=within)
    except FileNotFoundError:  # removed as abandoned before it could be locked
        raise FileExistsError(errno.EEXIST, "removed meanwhile", name) from None


@functools.cache
def _boot() -> str:
    """Eight digits that all processes of this kernel share, in containers too, and others do not.

    Without them, each process has digits of its own, and copies are left alone for a day.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")[:8]
    except OSError:
        return secrets.token_hex(4)


@contextlib.contextmanager
def naming(place: Path) -> Iterator[None]:
    """Name the place in an error of the file system: the system names nothing for a write, or the temporary copy."""
    try:
        yield
    except OSError as error:
        name = None if error.filename is None else os.path.basename(os.fsdecode(error.filename))
        if error.errno in DISK_ERRORS and (name is None or is_temporary(name)):
            error.filename = os.fspath(place)
        raise
