"""Objects of the artifact cache: bytes by their digest, checked before they are used.

An object is a plain, read-only file whose name is its SHA-256. Results get a copy of it, or a hard link, which takes no
space. Nothing else that lies there under such a name is read: no link, pipe, device or folder.
"""

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from distillery.files import atomic_open
from distillery.jobs import cache_folders
from distillery.jobs.cache_entries import Content, Unusable, open_file
from distillery.temporary import is_temporary, remove_abandoned, replacement

CHECKS = ("always", "once", "never")
"""When the bytes of a linked file are read and compared with their digest: at each use; at the first use by this
working folder, until size, time or inode differ; or only where size or time differ from what was stored."""
CHUNK = 1 << 20
SHARED_MODE = 0o444


class Objects:
    """The objects of a cache.

    Args:
        location: The folder of the cache, and `parts`: the folder of the objects below it.
        check: When linked files are checked, one of CHECKS.
    """

    def __init__(self, location: Path, parts: tuple[str, ...], check: str) -> None:
        self.location, self.parts, self.check = location, parts, check

    def path(self, sha256: str) -> Path:
        return self.location.joinpath(*self.parts, sha256[:2], sha256)

    @contextlib.contextmanager
    def opened(self, content: Content) -> Iterator[tuple[int, int, os.stat_result]]:
        """An object, open: the descriptors of its folder and of its file, and its state.

        Raises:
            Unusable: It is missing, no plain file, or of another size.
        """
        path = self.path(content.sha256)
        with contextlib.ExitStack() as stack:
            try:
                folder = stack.enter_context(self._folder(content.sha256))
                source = open_file(content.sha256, folder)
            except FileNotFoundError:
                raise Unusable(f"{path} is missing") from None
            except (OSError, Unusable) as reason:
                raise Unusable(f"{path}: {reason}") from None
            stack.callback(os.close, source)
            found = os.fstat(source)
            if found.st_size != content.bytes:
                raise Unusable(f"the bytes of {path} were changed: {found.st_size:,} instead of {content.bytes:,}")
            yield folder, source, found

    def link_out(self, content: Content, target: Path) -> bool:
        """Share an object with a result, and check it; False where it must be copied."""
        with self.opened(content) as (folder, source, found):
            if not can_be_shared(found):
                return False
            try:
                os.link(content.sha256, target, src_dir_fd=folder, follow_symlinks=False)
            except OSError:  # another file system, or too many links
                return False
            if os.lstat(target).st_ino != found.st_ino:
                raise Unusable(f"{self.path(content.sha256)} was exchanged")
            if self._is_due(content, found):
                self._require_digest(content, folder, _digest(source, content.bytes))
                self._note_check(content, found)
        return True

    def copy_out(self, content: Content, target: Path) -> None:
        """Copy an object and check its bytes on the way."""
        with self.opened(content) as (folder, source, _), replacement(target) as out:
            self._require_digest(content, folder, _digest(source, content.bytes, out))

    def _require_digest(self, content: Content, folder: int, found: str | None) -> None:
        if found != content.sha256:
            if found is not None:
                cache_folders.drop(content.sha256, folder)
            raise Unusable(f"the bytes of {self.path(content.sha256)} were changed")

    def _is_due(self, content: Content, found: os.stat_result) -> bool:
        """Must the bytes of a linked file be read?"""
        if self.check == "always" or found.st_mtime_ns != content.mtime_ns:
            return True
        if self.check == "never":
            return False
        try:
            return _note_of_check(content).read_text(encoding="utf-8") != _state_text(found)
        except (OSError, ValueError):
            return True

    def _note_check(self, content: Content, found: os.stat_result) -> None:
        """Remember a check in the working folder: in the cache, others could pretend that they made it."""
        if self.check == "once":
            with contextlib.suppress(OSError), atomic_open(_note_of_check(content)) as out:
                out.write(_state_text(found))

    def keep(self, path: Path, *, share: bool) -> Content:
        """Keep the bytes of a file.

        Args:
            share: Result and cache share the bytes where they can: these are read-only from now on.
        """
        with open(path, "rb") as source:
            before = os.fstat(source.fileno())
            sha256 = hashlib.file_digest(source, "sha256").hexdigest()
            with self._folder(sha256, create=True) as folder:
                if not self._has(sha256, before, folder):
                    shared = share and _link_in(path, source.fileno(), sha256, folder)
                    if not shared:
                        self._copy_in(path, source.fileno(), sha256, folder)
                found = os.stat(sha256, dir_fd=folder, follow_symlinks=False)
        return Content(sha256=sha256, bytes=found.st_size, mtime_ns=found.st_mtime_ns)

    def _has(self, sha256: str, wanted: os.stat_result, folder: int) -> bool:
        """Is an object there, and whole? One that is not is removed."""
        found = cache_folders.state(sha256, folder)
        if found is None:
            return False
        if stat.S_ISREG(found.st_mode) and found.st_size == wanted.st_size:
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino) or self.check == "never":
                return True
            with contextlib.suppress(OSError, Unusable):
                descriptor = open_file(sha256, folder)
                try:
                    if _digest(descriptor, wanted.st_size) == sha256:
                        return True
                finally:
                    os.close(descriptor)
        if not cache_folders.drop(sha256, folder):
            raise Unusable(f"{self.path(sha256)} is damaged and cannot be removed")
        return False

    def _copy_in(self, path: Path, source: int, sha256: str, folder: int) -> None:
        os.lseek(source, 0, os.SEEK_SET)
        with replacement(self.path(sha256), folder) as out:
            if _digest(source, os.fstat(source).st_size, out) != sha256:
                raise OSError(errno.EBUSY, "it changed while it was read", str(path))
            os.fchmod(out, SHARED_MODE)

    def damaged(self) -> Iterator[tuple[Path, str]]:
        """Everything that lies where objects lie and is not what its name says, with the reason."""
        for prefix, name, folder in cache_folders.listed(self.location, *self.parts):
            if is_temporary(name):
                continue
            try:
                descriptor = open_file(name, folder)
                try:
                    whole = _digest(descriptor, os.fstat(descriptor).st_size) == name and name[:2] == prefix
                finally:
                    os.close(descriptor)
                reason = "" if whole else "its bytes were changed"
            except FileNotFoundError:
                continue
            except (OSError, Unusable) as fault:
                reason = str(fault)
            if reason:
                yield self.location.joinpath(*self.parts, prefix, name), reason

    def remove_unused(self, named: Collection[str], grace_seconds: float) -> tuple[int, int]:
        """Remove objects that are not named, except for young ones; return the number of files and of bytes."""
        files = total = 0
        swept = set()
        for prefix, name, folder in cache_folders.listed(self.location, *self.parts):
            if prefix not in swept:
                swept.add(prefix)
                remove_abandoned(folder)
            found = cache_folders.state(name, folder)
            # Linking and renaming set the inode's change time, whatever the time of the bytes.
            if found is None or name in named or time.time() - found.st_ctime < grace_seconds:
                continue
            if not is_temporary(name) and not stat.S_ISDIR(found.st_mode) and cache_folders.drop(name, folder):
                files, total = files + 1, total + found.st_size
        return files, total

    @contextlib.contextmanager
    def _folder(self, sha256: str, create: bool = False) -> Iterator[int]:
        with cache_folders.opened(self.location, *self.parts, sha256[:2], create=create) as folder:
            yield folder


def _link_in(path: Path, source: int, sha256: str, folder: int) -> bool:
    """Give a result's bytes their name in the cache; False where they must be copied."""
    try:
        os.link(path, sha256, dst_dir_fd=folder, follow_symlinks=False)
    except OSError:  # another file system, or the object came meanwhile
        return False
    try:
        if os.stat(sha256, dir_fd=folder, follow_symlinks=False).st_ino == os.fstat(source).st_ino:
            os.fchmod(source, SHARED_MODE)
            return True
    except OSError:  # another owner's file
        pass
    cache_folders.drop(sha256, folder)
    return False


def can_be_shared(found: os.stat_result) -> bool:
    """May an object be a result too? Its owner could change it, so it must be ours, and read-only."""
    return found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o7222 == 0


def _digest(source: int, size: int, out: int | None = None) -> str | None:
    """SHA-256 of the rest of an open file, which may be copied on the way; None where it is not of that size.

    Raises:
        Unusable: It cannot be read. OSError: The copy cannot be written.
    """
    digest, left = hashlib.sha256(), size
    while True:
        try:
            chunk = os.read(source, CHUNK)
        except OSError as error:
            raise Unusable(f"its bytes cannot be read: {error.strerror}") from None
        left -= len(chunk)
        if not chunk or left < 0:
            return digest.hexdigest() if left == 0 else None
        digest.update(chunk)
        view = memoryview(chunk)
        while out is not None and view:
            view = view[os.write(out, view) :]


def _note_of_check(content: Content) -> Path:
    return Path(os.environ.get("DISTILLERY_WORK", "work")) / "checked" / content.sha256


def _state_text(found: os.stat_result) -> str:
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}\n"
