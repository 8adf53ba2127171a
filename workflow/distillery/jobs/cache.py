"""The artifact cache: what jobs made, by the key of everything that can change it.

    <location>/v1/entries/<2 digits>/<job key>.json    outputs by name -> files -> digest; the provenance record
    <location>/v1/objects/<2 digits>/<sha256>          contents, read-only, each stored once
    <location>/v1/locks/<job key>                      held while a job is computed

A hit puts the outputs back: plain files as copies, checked while they are copied; files of folders (weights) as hard
links where the file system allows, so that a gigabyte costs nothing. A link shares its bytes with the cache: it is
read-only, and size and time of the bytes are compared before each use. Where they differ, the digest is computed: bytes
that were changed are reported and dropped, and the job runs.

An entry is written last, so an entry that exists is complete. Nothing is changed in place: any number of jobs,
checkouts and users can share a cache, and a user without permission to write can still read.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distillery.files import atomic_open, sha256_file, umask
from distillery.jobs.locks import waiting_lock

logger = logging.getLogger(__name__)

LOCATION_VARIABLE = "DISTILLERY_CACHE"
DEFAULT_LOCATION = "work/cache"
OFF = "off"
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """One file's bytes. `mtime_ns` is the time of its object: bytes changed through a hard link have another."""

    sha256: str
    bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """One output: a file (its only path is empty), or a folder of files by relative path."""

    folder: bool
    files: Mapping[str, Content]


@dataclass(frozen=True, slots=True)
class Entry:
    """What one job made. `record` is the provenance record of the run that computed it."""

    key: str
    stage: str
    outputs: Mapping[str, Artifact]
    record: Mapping[str, Any]


class ArtifactCache:
    """A cache at a folder; None is a cache that never has anything and keeps nothing."""

    def __init__(self, location: Path | None) -> None:
        self.root = None if location is None else Path(location) / "v1"

    @classmethod
    def from_environment(cls) -> "ArtifactCache":
        """The cache that DISTILLERY_CACHE names: a folder, or `off`; `work/cache` without it."""
        location = os.environ.get(LOCATION_VARIABLE) or DEFAULT_LOCATION
        return cls(None if location == OFF else Path(location))

    def lock(self, key: str, what: str) -> AbstractContextManager[bool]:
        """Hold the right to compute a job; yields whether another process computed it meanwhile."""
        if self.root is None:
            return contextlib.nullcontext(False)
        return waiting_lock(self.root / "locks" / key, what)

    def find(self, key: str) -> Entry | None:
        """The entry of a job, or None; its time of use is noted, for garbage collection."""
        if self.root is None:
            return None
        path = self.entry_path(key)
        entry = read_entry(path)
        if entry is not None:
            with contextlib.suppress(OSError):
                os.utime(path)
        return entry

    def entry_path(self, key: str) -> Path:
        assert self.root is not None
        return self.root / "entries" / key[:2] / f"{key}.json"

    def object_path(self, sha256: str) -> Path:
        assert self.root is not None
        return self.root / "objects" / sha256[:2] / sha256

    def restore(self, entry: Entry, outputs: Mapping[str, Path]) -> bool:
        """Put the outputs of an entry where a job declares them; False when bytes are missing or were changed."""
        if outputs.keys() != entry.outputs.keys():
            return False
        try:
            for name, artifact in entry.outputs.items():
                if artifact.folder:
                    self._restore_folder(artifact, Path(outputs[name]))
                else:
                    self._copy_out(artifact.files[""], Path(outputs[name]))
        except _Damaged as damage:
            logger.warning("the cache has lost a result of stage %s: %s; it is computed again", entry.stage, damage)
            for path in outputs.values():
                _remove(Path(path))
            return False
        return True

    def _restore_folder(self, artifact: Artifact, folder: Path) -> None:
        """Fill a folder beside its place, then move it there: a folder at its place is complete."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for relative, content in artifact.files.items():
                target = made / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                self._check(content)
                try:
                    os.link(self.object_path(content.sha256), target)
                except OSError:  # another file system, another owner's file, or too many links
                    self._copy_out(content, target)
            made.chmod(0o777 & ~umask())
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise

    def _check(self, content: Content) -> None:
        """Is an object as it was stored? Its digest is computed only when size or time of the bytes differ."""
        path = self.object_path(content.sha256)
        try:
            found = path.stat()
        except FileNotFoundError:
            raise _Damaged(f"{path} is missing") from None
        if found.st_size == content.bytes and found.st_mtime_ns == content.mtime_ns:
            return
        if sha256_file(path) != content.sha256:
            self._drop(path)
            raise _Damaged(f"the bytes of {path} were changed")
        with contextlib.suppress(OSError):
            os.utime(path, ns=(content.mtime_ns, content.mtime_ns))

    def _copy_out(self, content: Content, target: Path) -> None:
        """Copy an object and check its bytes on the way."""
        path = self.object_path(content.sha256)
        try:
            with open(path, "rb") as source, atomic_open(target, "wb") as out:
                if _copy(source, out) != content.sha256:
                    raise _Damaged(f"the bytes of {path} were changed")
        except FileNotFoundError:
            raise _Damaged(f"{path} is missing") from None
        except _Damaged:
            self._drop(path)
            raise

    @staticmethod
    def _drop(path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink()

    def store(self, key: str, stage: str, outputs: Mapping[str, Path], record: Mapping[str, Any]) -> Entry | None:
        """Keep the outputs of a job that has just been computed; None when the cache cannot be written."""
        if self.root is None:
            return None
        try:
            kept = {name: self._keep(Path(path)) for name, path in sorted(outputs.items())}
            entry = Entry(key, stage, kept, record)
            self.write_entry(entry)
        except OSError as error:
            logger.warning("the result is not kept in the cache: %s", error)
            return None
        return entry

    def write_entry(self, entry: Entry) -> None:
        with atomic_open(self.entry_path(entry.key)) as out:
            out.write(json.dumps(asdict(entry), indent=1, sort_keys=True))

    def _keep(self, path: Path) -> Artifact:
        if not path.is_dir():
            return Artifact(folder=False, files={"": self._keep_copy(path)})
        files = {
            file.relative_to(path).as_posix(): self._keep_link(file)
            for file in sorted(path.rglob("*"))
            if file.is_file() and file.name != ".snakemake_timestamp"
        }
        return Artifact(folder=True, files=files)

    def _keep_copy(self, path: Path) -> Content:
        sha256 = sha256_file(path)
        target = self.object_path(sha256)
        if not target.exists():
            with open(path, "rb") as source, atomic_open(target, "wb") as out:
                if _copy(source, out) != sha256:
                    raise OSError(f"{path} changed while it was read")
            target.chmod(0o444)
        return self._described(sha256)

    def _keep_link(self, path: Path) -> Content:
        """Share the bytes between result and cache: they are read-only from now on."""
        sha256 = sha256_file(path)
        target = self.object_path(sha256)
        if target.exists():
            return self._described(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            os.link(path, beside)
        except OSError:
            return self._keep_copy(path)
        path.chmod(0o444)
        beside.rename(target)
        return self._described(sha256)

    def _described(self, sha256: str) -> Content:
        found = self.object_path(sha256).stat()
        return Content(sha256, found.st_size, found.st_mtime_ns)

    def entries(self) -> Iterator[tuple[Path, Entry]]:
        """Every readable entry with its file."""
        if self.root is None:
            return
        for path in sorted(self.root.glob("entries/*/*.json")):
            entry = read_entry(path)
            if entry is not None:
                yield path, entry

    def remove_unused_objects(self, grace_seconds: float = 3600) -> tuple[int, int]:
        """Remove objects that no entry names, except for young objects: a job may be about to write their entry.

        Returns:
            Number of files and of bytes removed.
        """
        if self.root is None:
            return 0, 0
        named = {
            content.sha256
            for _, entry in self.entries()
            for artifact in entry.outputs.values()
            for content in artifact.files.values()
        }
        files = total = 0
        for path in sorted(self.root.glob("objects/*/*")):
            found = path.stat()
            # Linking and renaming set the inode's change time, whatever the time of the bytes.
            if path.name not in named and time.time() - found.st_ctime >= grace_seconds:
                path.unlink()
                files, total = files + 1, total + found.st_size
        return files, total


class _Damaged(Exception):
    """Bytes of an entry are missing or were changed."""


def read_entry(path: Path) -> Entry | None:
    """Read an entry; None if it is missing or cannot be read."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        outputs = {
            name: Artifact(output["folder"], {file: Content(**content) for file, content in output["files"].items()})
            for name, output in entry["outputs"].items()
        }
        return Entry(entry["key"], entry["stage"], outputs, entry["record"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s is not a cache entry: %s", path, error)
        return None


def _copy(source: Any, out: Any) -> str:
    """Copy bytes and return their digest."""
    digest = hashlib.sha256()
    while chunk := source.read(CHUNK):
        digest.update(chunk)
        out.write(chunk)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
