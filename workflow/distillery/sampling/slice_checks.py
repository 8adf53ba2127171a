"""Checks of a slice before its import: the zip file, its list of units, and each unit with each row.

`python -m distillery.sampling.slice_checks <slice> <digest> <bytes>` prints what it found as JSON. It may take
that many bytes of memory more than it has when it starts, so that no slice can take the memory of the machine.
"""

import contextlib
import hashlib
import json
import os
import re
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import Field, ValidationError

from distillery.sampling.requests import Series
from distillery.sampling.unit_checks import (
    MAX_UNIT_BYTES,
    SeriesDescription,
    UnitFault,
    Untrusted,
    checked_table,
    fault_of,
    series_of,
    shortened,
)

LISTING = "slice.json"
MEMBER = re.compile(r"(?P<series>[0-9a-f]{32})/[0-9]{20}-[0-9a-f]{32}\.parquet")

MAX_MEMBERS = 100_000
MAX_LISTING_BYTES = 32 << 20
MAX_COMPLETIONS = 2_000_000
MAX_RATIO = 20
"""Bytes of all members together, to bytes of the zip file; ours are not compressed twice."""
MEMORY_BYTES = 1 << 30
LARGER = "Ask its maker for several slices (`distillery store export --results`); nothing was imported"

_ENTRY = b"PK\x01\x02"
"""Begins each entry of a zip file's list of members."""


class SliceFault(Exception):
    """Why a slice is refused.

    Args:
        problem: In words.
        place: Member, row and column, where there is one.
        value: What stands there.
        remedy: What to do, where that is not to get the slice again.
    """

    def __init__(self, problem: str, place: str | None = None, value: object = None, remedy: str | None = None) -> None:
        self.problem, self.place, self.value, self.remedy = problem, place, shortened(value), remedy
        super().__init__(problem)


@dataclass(frozen=True)
class Checked:
    """A slice that was found good: the digest of its list of units, and its number of completions."""

    listing: str
    completions: int


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Listing(Untrusted):
    """`slice.json`."""

    format: Literal[1]
    series: dict[Digest, SeriesDescription]
    units: dict[str, Sha256]

    def series_of_units(self) -> Iterator[tuple[str, Series]]:
        """Each unit's name, and its series.

        Raises:
            SliceFault: A name is not that of a unit, or of a series that is listed.
        """
        known: dict[str, Series] = {}
        for digest, described in self.series.items():
            try:
                known[digest] = series_of(described, digest)
            except UnitFault as fault:
                place = f"{LISTING}, series.{digest}"
                raise SliceFault(fault.problem, place, fault.value) from fault
        for name in self.units:
            match = MEMBER.fullmatch(name)
            if match is None:
                raise SliceFault("not a name of a unit", f"{LISTING}, units", name)
            if match["series"] not in known:
                raise SliceFault("the series of this unit is not described", f"{LISTING}, units", name)
            yield name, known[match["series"]]


def check_slice(source: Path, digest: str | None = None) -> Checked:
    """Read and check all of a slice.

    Raises:
        SliceFault: It is refused.
    """
    with open_slice(source) as archive:
        raw = _member(archive, LISTING, MAX_LISTING_BYTES)
        found = hashlib.sha256(raw).hexdigest()
        if digest and found != digest.strip().lower():
            raise SliceFault("its digest is another than the one you gave", "digest", found)
        listing = read_listing(archive, found)
        keys: set[bytes] = set()
        for name, series in listing.series_of_units():
            data = read_unit(archive, name, listing)
            try:
                table = checked_table(data, series)
            except UnitFault as fault:
                raise SliceFault(fault.problem, ", ".join(filter(None, [name, fault.place])), fault.value) from fault
            _check_keys(name, table["key"].to_pylist(), keys)
    return Checked(found, len(keys))


def _check_keys(name: str, found: list[str], keys: set[bytes]) -> None:
    for number, key in enumerate(found, start=1):
        packed = bytes.fromhex(key)  # a slice may have millions
        if packed in keys:
            raise SliceFault("a second completion of one key", f"{name}, row {number}, key", key)
        keys.add(packed)
    if len(keys) > MAX_COMPLETIONS:
        raise SliceFault(f"more than {MAX_COMPLETIONS:,} completions", remedy=LARGER)


@contextlib.contextmanager
def open_slice(source: Path) -> Iterator[zipfile.ZipFile]:
    """A slice whose members have been looked at: how many, how large, and of which kind. None has been read.

    Raises:
        SliceFault: The file cannot be read, is not a zip file, or a member is none that a slice has.
    """
    with contextlib.ExitStack() as opened:
        with _zip_faults():
            if not stat.S_ISREG(os.stat(source).st_mode):  # a pipe would be waited for
                raise SliceFault("not a file", remedy="Name the slice, a zip file")
            file = opened.enter_context(open(source, "rb"))
            _check_count(file)
            archive = opened.enter_context(zipfile.ZipFile(file))
            _check_members(archive, os.fstat(file.fileno()).st_size)
        yield archive


@contextlib.contextmanager
def _zip_faults() -> Iterator[None]:
    """Turn what reading a damaged zip file raises into a SliceFault."""
    try:
        yield
    except OSError as error:
        if error.filename is None:  # a place that the zip file names, outside of it
            raise SliceFault("not a slice, or not a whole one: a part of it is missing") from error
        raise SliceFault(f"cannot be read: {error.strerror}", remedy="Check the path") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, LookupError) as error:
        raise SliceFault(f"not a slice, or not a whole one: {shortened(str(error))}") from error
    except (EOFError, struct.error) as error:
        raise SliceFault("not a slice, or not a whole one: it ends too early") from error


def _check_count(file: IO[bytes]) -> None:
    """Refuse too many members before the list of members is read into memory, without trusting what it says."""
    found, before = 0, b""
    while data := file.read(1 << 20):
        found += (before + data).count(_ENTRY)
        before = data[1 - len(_ENTRY) :]
        if found > 2 * MAX_MEMBERS:  # data may hold the sign by chance
            raise SliceFault(f"more than {MAX_MEMBERS:,} files in it", remedy=LARGER)
    file.seek(0)


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise SliceFault(f"{len(members):,} files in it, and at most {MAX_MEMBERS:,} are read", remedy=LARGER)
    seen: set[str] = set()
    for member in members:
        name = member.filename
        kind = stat.S_IFMT(member.external_attr >> 16)
        limit = MAX_LISTING_BYTES if name == LISTING else MAX_UNIT_BYTES
        if name != LISTING and MEMBER.fullmatch(name) is None:
            raise SliceFault("it holds a file that is none of a slice", "name", name)
        if name in seen:
            raise SliceFault("it holds two files of this name", "name", name)
        if kind not in (0, stat.S_IFREG):
            raise SliceFault("it holds something else than a file", "name", name)
        if member.flag_bits & 0x1:
            raise SliceFault("it is encrypted", "name", name)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise SliceFault("it is compressed in a way that slices are not", name, member.compress_type)
        if member.file_size > limit:
            raise SliceFault(f"{member.file_size:,} bytes, and at most {limit:,} are read", name)
        seen.add(name)
    if LISTING not in seen:
        raise SliceFault(f"not a slice, or not a whole one: there is no {LISTING}")
    total = sum(member.file_size for member in members)
    if total > MAX_RATIO * size:
        raise SliceFault(f"{size:,} bytes that become {total:,}: at most {MAX_RATIO} times as many are read")


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """The bytes of a member. What its size is said to be does not bind the data, so it is read with a limit."""
    with _zip_faults(), archive.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise SliceFault(f"more than {limit:,} bytes", name)
    return data


def read_listing(archive: zipfile.ZipFile, digest: str) -> Listing:
    """The list of units, whose digest is known.

    Raises:
        SliceFault: It is another, is not valid, or lists other files than there are.
    """
    raw = _member(archive, LISTING, MAX_LISTING_BYTES)
    if hashlib.sha256(raw).hexdigest() != digest:
        raise SliceFault("the file was changed while it was imported", LISTING)
    try:
        listing = Listing.model_validate_json(raw)
    except ValidationError as error:
        fault = fault_of(error, LISTING)
        raise SliceFault(f"not a slice, or of another format: {fault.problem}", fault.place, fault.value) from error
    there = set(archive.namelist()) - {LISTING}
    if there != listing.units.keys():
        name = min(there ^ listing.units.keys())
        raise SliceFault("it holds other files than it lists", f"{LISTING}, units", name)
    return listing


def read_unit(archive: zipfile.ZipFile, name: str, listing: Listing) -> bytes:
    """The bytes of a unit, which are those that the list names.

    Raises:
        SliceFault: They are others.
    """
    data = _member(archive, name, MAX_UNIT_BYTES)
    found = hashlib.sha256(data).hexdigest()
    if found != listing.units[name] or found[:32] != name[-40:-8]:
        raise SliceFault("the bytes of this unit were changed", name, found)
    return data


def _limit_memory(memory: int) -> None:
    """Bound the memory of this process, where the system can."""
    import resource

    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    pa.set_cpu_count(1)
    pages = Path("/proc/self/statm")
    if pages.exists():
        used = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))


def _report(source: str, digest: str, memory: str) -> dict[str, object]:
    _limit_memory(int(memory))
    try:
        return {"checked": asdict(check_slice(Path(source), digest or None))}
    except SliceFault as fault:
        names = ("problem", "place", "value", "remedy")
        return {"fault": {name: getattr(fault, name) for name in names}}
    except MemoryError:
        return {"fault": {"problem": f"it needs more than {int(memory):,} bytes of memory to be read"}}


if __name__ == "__main__":
    json.dump(_report(*sys.argv[1:]), sys.stdout)
