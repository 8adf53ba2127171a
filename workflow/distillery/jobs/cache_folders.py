"""Folders of the artifact cache, reached without following a symbolic link below the location that the user named.

Others may write into a shared cache. A name inside it that is a link, a pipe or a device never leads out of it: each
folder is opened from the one above it, and all that happens in it goes through its descriptor.
"""

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

PREFIX = re.compile(r"[0-9a-f]{2}")


@contextlib.contextmanager
def opened(location: Path, *parts: str, create: bool = False) -> Iterator[int]:
    """The descriptor of a folder below a location.

    Raises:
        OSError: It does not exist, or a part of it is a link or no folder.
    """
    if create:
        location.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(location, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o777, dir_fd=descriptor)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def listed(location: Path, *parts: str) -> Iterator[tuple[str, str, int]]:
    """Everything in the two-digit folders of a part of the cache: folder, name and the folder's descriptor, sorted."""
    try:
        with opened(location, *parts) as above:
            prefixes = sorted(filter(PREFIX.fullmatch, os.listdir(above)))
    except OSError:
        return
    for prefix in prefixes:
        with contextlib.suppress(OSError), opened(location, *parts, prefix) as folder:
            for name in sorted(os.listdir(folder)):
                yield prefix, name, folder


def drop(name: str, folder: int) -> bool:
    """Remove a name of an open folder: a file, a link (never what it leads to) or a folder; say whether it is gone."""
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def state(name: str, folder: int) -> os.stat_result | None:
    """The state of a name itself in an open folder; None where there is none."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
