"""Entries of the artifact cache, and the checks that make each one harmless, whoever wrote it.

A shared cache is written by others. So an entry is read as text of limited size, checked whole against these models,
and refused with one reason before anything is done with it: names of files are relative and plain, digests are digests,
and a file is declared once, on file systems that ignore case or Unicode forms too.
"""

import json
import math
import os
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

MAX_ENTRY_BYTES = 32 << 20
MAX_DEPTH = 64
MAX_FILES = 10_000
MAX_PARTS = 16
MAX_NAME_BYTES = 200
MAX_BYTES = 8 << 40
"""Of one result: more than the largest open model has."""

SNAKEMAKE_TIMESTAMP = ".snakemake_timestamp"
"""Snakemake's own file in a folder that a job made; it is no part of the result."""

FOLDER = "folder"
"""The output of this name is a folder, and outputs whose path has a suffix are files: a rule of this workflow."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
Seconds = Annotated[int | float, Field(ge=0, le=1e12)]


class Unusable(Exception):
    """An entry, or the bytes that it names, cannot be used: the job is computed."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Content(_Strict):
    """One file's bytes. `mtime_ns` is the time of its object: bytes changed through a hard link have another."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0, le=MAX_BYTES)]
    mtime_ns: Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Artifact(_Strict):
    """One output: a file (its only path is empty), or a folder of files by relative path."""

    folder: bool
    files: Annotated[Mapping[str, Content], Field(max_length=MAX_FILES)]

    @model_validator(mode="after")
    def _has_plain_names(self) -> "Artifact":
        if not self.folder:
            if list(self.files) != [""]:
                raise ValueError("a file has one content, without a name")
            return self
        files: set[str] = set()
        folders: set[str] = set()
        for name in self.files:
            parts = name.split("/")
            if fault := _fault_of(parts):
                raise ValueError(f"{fault}: {name[:80]!a}")
            as_one = [unicodedata.normalize("NFC", part).casefold() for part in parts]
            above = {"/".join(as_one[:length]) for length in range(1, len(parts))}
            path = "/".join(as_one)
            if path in files or path in folders or above & files:
                raise ValueError(f"two files at one place: {name[:80]!a}")
            files.add(path)
            folders |= above
        return self


def _fault_of(parts: list[str]) -> str | None:
    """Why the parts of a name do not make a path inside a folder."""
    if any(part in {"", ".", ".."} for part in parts):
        return "not a plain relative path"
    if len(parts) > MAX_PARTS or any(len(part.encode(errors="replace")) > MAX_NAME_BYTES for part in parts):
        return "too long a path"
    if not all(part.isprintable() and "\\" not in part for part in parts):
        return "characters that a file name should not have"
    return "not a part of a result" if parts[-1] == SNAKEMAKE_TIMESTAMP else None


class _Record(BaseModel):
    """What is read of a provenance record: by the log, by `cache stats` and by forecasts."""

    model_config = ConfigDict(strict=True, extra="ignore")

    key: Key | None = None
    stage: Name | None = None
    seconds: Seconds = 0
    host: Annotated[str, Field(max_length=300)] = ""
    finished: Annotated[str, Field(max_length=100)] = ""
    params: dict[str, Any] = {}
    inputs: dict[str, list[str]] = {}
    work: dict[str, Any] = {}

    @field_validator("host", "finished")
    @classmethod
    def _can_be_printed(cls, text: str) -> str:
        if not text.isprintable():
            raise ValueError("characters that cannot be printed")
        return text


class Entry(_Strict):
    """What one job made. `record` is the provenance record of the run that computed it."""

    key: Key
    stage: Name
    outputs: Mapping[str, Artifact]
    record: Mapping[str, Any]

    @model_validator(mode="after")
    def _is_one_job(self) -> "Entry":
        try:
            record = _Record.model_validate(dict(self.record))
        except ValidationError as error:
            raise ValueError(_first_fault(error)) from None
        if record.key not in {None, self.key} or record.stage not in {None, self.stage}:
            raise ValueError("its record is of another job")
        if sum(content.bytes for content in self.contents()) > MAX_BYTES:
            raise ValueError("too large")
        return self

    def contents(self) -> Iterator[Content]:
        """The contents of all files, in their order."""
        for artifact in self.outputs.values():
            yield from artifact.files.values()

    def require_outputs(self, outputs: Mapping[str, os.PathLike[str] | str]) -> None:
        """Check that the entry holds what a job declares, each as the file or folder that it is.

        Raises:
            Unusable: It does not.
        """
        if outputs.keys() != self.outputs.keys():
            raise Unusable("it holds other outputs than the job declares")
        for name, artifact in self.outputs.items():
            if artifact.folder != (name == FOLDER) and (name == FOLDER or PurePosixPath(outputs[name]).suffix):
                raise Unusable(f"{name} is a {'folder' if artifact.folder else 'file'}")


def parsed(text: bytes) -> Entry:
    """The entry that a file holds.

    Raises:
        Unusable: It holds none; the message is one short line of plain characters.
    """
    try:
        document = json.loads(
            text.decode(), object_pairs_hook=_without_doubles, parse_float=_finite, parse_constant=_finite
        )
        _require_plain(document)
        return Entry.model_validate(document)
    except ValidationError as error:
        raise Unusable(_first_fault(error)) from None
    except (ValueError, RecursionError) as error:
        raise Unusable(f"not JSON as the cache writes it: {ascii(str(error)[:200])[1:-1]}") from None


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(ascii(str(part)[:60])[1:-1] for part in first["loc"])
    return f"{place or 'entry'}: {ascii(first['msg'][:200])[1:-1]}"


def read(name: str, folder: int) -> tuple[Entry, os.stat_result]:
    """The entry in a file of an open folder, and the file's state.

    Raises:
        FileNotFoundError: There is no such file.
        Unusable: It holds no entry.
    """
    try:
        descriptor = open_file(name, folder)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            text = file.read(MAX_ENTRY_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unusable(str(error.strerror)) from None
    if len(text) > MAX_ENTRY_BYTES:
        raise Unusable("too large a file")
    entry = parsed(text)
    if name != f"{entry.key}.json":
        raise Unusable("it is the entry of another key")
    return entry, found


def open_file(name: str, folder: int) -> int:
    """Open a plain file of an open folder for reading, without following a link or waiting for a pipe.

    Raises:
        OSError: It cannot be opened.
        Unusable: It is no plain file.
    """
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        raise Unusable("not a plain file")
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Unusable("not a plain file")
    return descriptor


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key twice")
    return made


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"not a finite number: {text}")
    return value


def _require_plain(document: object) -> None:
    """Refuse what cannot be written again as JSON in UTF-8: lone surrogates, and more levels than the writer takes."""
    level, depth = [document], 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueError("too deeply nested")
        depth += 1
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str):
                value.encode()
        level = below
