"""The artifact cache: what jobs made, by the key of everything that can change it.

    <location>/v1/entries/<2 digits>/<job key>.json    outputs by name -> files -> digest; the provenance record
    <location>/v1/objects/<2 digits>/<sha256>          contents, read-only, each stored once
    <location>/v1/locks/<job key>                      held while a job is computed

A hit puts the outputs back: plain files as copies, files of folders (weights) as hard links where the file system
allows, so that a gigabyte takes no space. Bytes are checked before they are used: copies always, links as the variable
DISTILLERY_CACHE_CHECK says. Bytes that were changed are reported and dropped, and the job runs.

An entry is written last, so an entry that exists is complete. Nothing is changed in place: any number of jobs,
checkouts and users can share a cache, and a user without permission to write can still read. Entries of others are not
trusted with a path: `cache_entries` checks each one, `cache_folders` keeps all work below the location. A cache that is
full, damaged or not writable fails no job.

What this module does not notice: another user who writes a whole, consistent entry with other results in it.
"""

import contextlib
import errno
import json
import logging
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distillery.disk_faults import disk_fault, free_bytes, nearest_folder
from distillery.errors import UserError
from distillery.jobs import cache_entries, cache_folders
from distillery.jobs.cache_entries import SNAKEMAKE_TIMESTAMP, Artifact, Content, Entry, Unusable
from distillery.jobs.cache_objects import CHECKS, Objects, can_be_shared
from distillery.jobs.locks import waiting_lock
from distillery.temporary import DISK_ERRORS, is_temporary, remove, replacement, replacement_folder

logger = logging.getLogger(__name__)

LOCATION_VARIABLE = "DISTILLERY_CACHE"
DEFAULT_LOCATION = "work/cache"
OFF = "off"
CHECK_VARIABLE = "DISTILLERY_CACHE_CHECK"
VERSION = "v1"


class ArtifactCache:
    """A cache at a folder; None is a cache that never has anything and keeps nothing.

    Args:
        check: When linked files are checked, one of CHECKS.
    """

    def __init__(self, location: Path | None, check: str = "always") -> None:
        self.location = None if location is None else Path(location)
        self.root = None if self.location is None else self.location / VERSION
        self.objects = None if self.location is None else Objects(self.location, (VERSION, "objects"), check)

    @classmethod
    def from_environment(cls) -> "ArtifactCache":
        """The cache that DISTILLERY_CACHE names: a folder, or `off`; `work/cache` without it.

        Raises:
            UserError: DISTILLERY_CACHE_CHECK is none of CHECKS.
        """
        location = os.environ.get(LOCATION_VARIABLE) or DEFAULT_LOCATION
        check = os.environ.get(CHECK_VARIABLE) or CHECKS[0]
        if check not in CHECKS:
            raise UserError("no such check", key=CHECK_VARIABLE, value=check, remedy=f"Say {', '.join(CHECKS)}")
        return cls(None if location == OFF else Path(location), check)

    def lock(self, key: str, what: str) -> AbstractContextManager[bool]:
        """Hold the right to compute a job; yields whether another process computed it meanwhile."""
        if self.root is None:
            return contextlib.nullcontext(False)
        try:
            with self._folder("locks", create=True) as folder:
                found = cache_folders.state(key, folder)
        except OSError as error:
            logger.warning("no lock can be had in the cache (%s): continuing without", error)
            return contextlib.nullcontext(False)
        if found is not None and not (stat.S_ISREG(found.st_mode) and found.st_nlink == 1):
            logger.warning("%s is no lock file: continuing without", self.root / "locks" / key)
            return contextlib.nullcontext(False)
        return waiting_lock(self.root / "locks" / key, what)

    def find(self, key: str, outputs: Mapping[str, Path] | None = None, *, use: bool = True) -> Entry | None:
        """The entry of a job, or None, also where it is no valid one.

        Args:
            outputs: What the job declares; an entry with anything else is no valid one.
            use: Note the time of use, for garbage collection.
        """
        if self.root is None:
            return None
        try:
            with self._folder("entries", key[:2]) as folder:
                entry, found = cache_entries.read(f"{key}.json", folder)
                if outputs is not None:
                    entry.require_outputs(outputs)
                if use and found.st_nlink == 1:  # another name of the file may lie anywhere
                    with contextlib.suppress(OSError):
                        os.utime(f"{key}.json", dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except (Unusable, OSError) as reason:
            logger.warning("%s is no valid cache entry (%s): its job is computed", self.entry_path(key), reason)
            return None
        return entry

    def entry_path(self, key: str) -> Path:
        assert self.root is not None
        return self.root / "entries" / key[:2] / f"{key}.json"

    def object_path(self, sha256: str) -> Path:
        assert self.objects is not None
        return self.objects.path(sha256)

    def readable_object(self, content: Content) -> Path | None:
        """The file that holds a content, for a look at it; None where there is no plain file of that size."""
        if self.objects is None:
            return None
        try:
            with self.objects.opened(content):
                return self.object_path(content.sha256)
        except Unusable:
            return None

    def restore(self, entry: Entry, outputs: Mapping[str, Path]) -> bool:
        """Put the outputs of an entry where a job declares them; False when bytes are missing or were changed.

        Raises:
            OSError: The place of an output cannot be written.
        """
        assert self.objects is not None
        try:
            entry.require_outputs(outputs)
            self._require_space(entry, outputs)
            for name, artifact in entry.outputs.items():
                if artifact.folder:
                    self._restore_folder(artifact, Path(outputs[name]))
                else:
                    if Path(outputs[name]).is_dir():
                        remove(Path(outputs[name]))
                    self.objects.copy_out(artifact.files[""], Path(outputs[name]))
        except Unusable as reason:
            logger.warning(
                "%s: the cache has lost a result of stage %s: %s; it is computed again",
                self.entry_path(entry.key),
                entry.stage,
                reason,
            )
            for path in outputs.values():
                remove(Path(path))
            return False
        return True

    def _require_space(self, entry: Entry, outputs: Mapping[str, Path]) -> None:
        """Look whether the disk has space for what is copied.

        Raises:
            OSError: The disk is too full.
            Unusable: The entry names far more bytes than the cache itself holds.
        """
        assert self.objects is not None
        held: dict[str, int] = {}
        for name, artifact in entry.outputs.items():
            where = nearest_folder(Path(outputs[name]).parent)
            device, copied = where.stat().st_dev, 0
            for content in artifact.files.values():
                with self.objects.opened(content) as (_, _, found):
                    held[content.sha256] = found.st_blocks * 512
                    linked = artifact.folder and can_be_shared(found) and found.st_dev == device
                    copied += 0 if linked else content.bytes
            if copied > free_bytes(where):
                if copied > 4 * sum(held.values()) + (64 << 20):
                    raise Unusable(f"{name} names {copied:,} bytes, far more than it has")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(where))

    def _restore_folder(self, artifact: Artifact, folder: Path) -> None:
        """Fill a folder beside its place, then move it there: a folder at its place is complete."""
        assert self.objects is not None
        try:
            with replacement_folder(folder) as made:
                for relative, content in artifact.files.items():
                    target = made / relative
                    target.parent.mkdir(parents=True, exist_ok=True)
                    if not self.objects.link_out(content, target):
                        self.objects.copy_out(content, target)
        except OSError as error:
            if error.errno in DISK_ERRORS:
                raise
            raise Unusable(f"its files cannot be made here: {error.strerror}") from None  # such as a name it refuses

    @contextlib.contextmanager
    def _folder(self, *parts: str, create: bool = False) -> Iterator[int]:
        assert self.location is not None
        with cache_folders.opened(self.location, VERSION, *parts, create=create) as folder:
            yield folder

    def store(self, key: str, stage: str, outputs: Mapping[str, Path], record: Mapping[str, Any]) -> Entry | None:
        """Keep the outputs of a job that has just been computed; None when the cache cannot be written."""
        if self.root is None:
            return None
        try:
            kept = {name: self._keep(Path(path)) for name, path in sorted(outputs.items())}
            entry = Entry(key=key, stage=stage, outputs=kept, record=record)
            entry.require_outputs(outputs)
            self.write_entry(entry)
        except (OSError, Unusable, ValidationError) as error:
            reason = disk_fault(error, [self.root]) or " ".join(str(error).split())
            logger.warning("the result is complete, but the cache at %s does not keep it: %s", self.location, reason)
            return None
        return entry

    def write_entry(self, entry: Entry) -> None:
        path = self.entry_path(entry.key)
        with (
            self._folder("entries", entry.key[:2], create=True) as folder,
            replacement(path, folder) as descriptor,
            os.fdopen(descriptor, "w", encoding="utf-8", newline="\n", closefd=False) as out,
        ):
            out.write(json.dumps(entry.model_dump(), indent=1, sort_keys=True))

    def _keep(self, path: Path) -> Artifact:
        assert self.objects is not None
        if not path.is_dir():
            return Artifact(folder=False, files={"": self.objects.keep(path, share=False)})
        files = {
            file.relative_to(path).as_posix(): self.objects.keep(file, share=not file.is_symlink())
            for file in sorted(path.rglob("*"))
            if file.is_file() and file.name != SNAKEMAKE_TIMESTAMP
        }
        return Artifact(folder=True, files=files)

    def entries(self) -> Iterator[tuple[Path, Entry]]:
        """Every valid entry with its file; a log line names each other one."""
        for path, entry, reason in self.examined():
            if entry is not None:
                yield path, entry
            else:
                logger.warning("%s is no valid cache entry: %s", ascii(str(path))[1:-1], reason)

    def examined(self) -> Iterator[tuple[Path, Entry | None, str]]:
        """Everything that lies where entries lie: its path, and its entry or the reason why it is none."""
        if self.location is None or self.root is None:
            return
        for prefix, name, folder in cache_folders.listed(self.location, VERSION, "entries"):
            if is_temporary(name):
                continue
            path = self.root / "entries" / prefix / name
            try:
                entry = cache_entries.read(name, folder)[0]
                if entry.key[:2] != prefix:
                    raise Unusable("it lies in the folder of other keys")
            except FileNotFoundError:
                continue
            except Unusable as reason:
                yield path, None, str(reason)
            else:
                yield path, entry, ""

    def discard(self, path: Path) -> bool:
        """Remove a path that `examined`, `entries` or `objects.damaged` gave; False where that is not permitted."""
        kind, prefix, name = path.parts[-3:]
        try:
            with self._folder(kind, prefix) as folder:
                return cache_folders.drop(name, folder)
        except OSError:
            return False

    def last_used(self, path: Path) -> float:
        """When an entry was used last, in seconds since the epoch; now where nobody can tell."""
        try:
            return path.lstat().st_mtime
        except OSError:
            return time.time()

    def remove_unused_objects(self, grace_seconds: float = 3600) -> tuple[int, int]:
        """Remove objects that no entry names, except for young objects: a job may be about to write their entry.

        Returns:
            Number of files and of bytes removed.
        """
        if self.objects is None:
            return 0, 0
        named = {content.sha256 for _, entry in self.entries() for content in entry.contents()}
        return self.objects.remove_unused(named, grace_seconds)
