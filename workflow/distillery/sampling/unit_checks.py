"""Units that others wrote: read within limits, row by row as records, or refused with row, column and value.

Parquet expands: a page of a few bytes may hold a gigabyte, and one value of a dictionary may be that of a million rows.
So what the file says of its size is looked at first, texts are read as indices into their dictionaries, and the size
that they would have in full is known before they get it. A file that lies about its pages can still ask for memory;
`distillery.sampling.slices` reads slices in a process with a limit of memory for that.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from distillery.records import FinishReason
from distillery.sampling.logprobs import SCORED_FORMAT, decode_scored
from distillery.sampling.requests import STORE_FORMAT, Request, Series
from distillery.sampling.store import SCHEMA

MAX_UNIT_BYTES = 64 << 20
"""Of one unit: of its file, and again of its rows in memory."""
MAX_UNIT_ROWS = 65_536
MAX_ROW_GROUPS = 64
MAX_TEXT_BYTES = 16 << 20
"""Of one prompt or text. A response of an endpoint has at most 16 MB."""
MAX_TOKENS = 10_000_000
MAX_SAMPLES = 1_000_000
BATCH_ROWS = MAX_UNIT_ROWS
"""A whole row group: each batch would get a dictionary of its own, as large as that of the group."""
LIST_ROWS = 256
_THRIFT_STRINGS, _THRIFT_ITEMS = 1 << 20, 10_000
"""Limits on what describes a Parquet file; ours need a few kilobytes."""
_SHOWN = 80

_TEXTS = [field.name for field in SCHEMA if field.type == pa.string()]


class UnitFault(ValueError):
    """What is wrong with a unit or with the description of its series.

    Args:
        problem: In words.
        place: Row and column, or key, where there is one.
        value: What stands there, shortened.
    """

    def __init__(self, problem: str, place: str | None = None, value: object = None) -> None:
        self.problem, self.place, self.value = problem, place, shortened(value)
        at = "" if place is None else f", at {place}"
        super().__init__(f"{problem}{at}" + ("" if value is None else f" = {self.value!r}"))


def shortened(value: object) -> object:
    """A value as a message shows it: of a long text its beginning."""
    if isinstance(value, str) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]}... ({len(value):,} characters)"
    return value if isinstance(value, str | int | float | None) else shortened(repr(value))


class Untrusted(BaseModel):
    """Base of what others wrote: no other fields, and no value is made to fit."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Short = Annotated[str, Field(max_length=1000)]


class SeriesDescription(Untrusted):
    """`series.json`, and a series of a slice: see `Series` for the fields."""

    format: Literal[1]
    model: Annotated[str, Field(min_length=1, max_length=1000)]
    temperature: Annotated[FiniteFloat, Field(ge=0, le=1000)]
    top_p: Annotated[FiniteFloat, Field(ge=0, le=1)]
    top_k: Annotated[int, Field(ge=-1, lt=2**31)]
    max_new_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)]
    stop: Annotated[list[Short], Field(max_length=100)]
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)]
    scored: Literal[2] | None = None
    choice: Annotated[list[Short], Field(max_length=1000)] = []


assert (STORE_FORMAT, SCORED_FORMAT) == (1, 2)  # as the literals above


class Row(Untrusted):
    """A completion in a unit: `SCHEMA`, with the values that each column may have."""

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    prompt: str
    sample_index: Annotated[int, Field(ge=0, lt=MAX_SAMPLES)]
    text: str
    finish_reason: FinishReason
    prompt_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)]
    completion_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)]


def fault_of(error: ValidationError, *above: str) -> UnitFault:
    """The first fault that a record's validation found."""
    first = error.errors(include_url=False)[0]
    place = ", ".join([*above, *(".".join(map(str, first["loc"])).split("\n")[:1] if first["loc"] else [])])
    return UnitFault(first["msg"], place or None, None if first["type"] == "missing" else first["input"])


def series_of(described: SeriesDescription | Mapping[str, Any], digest: str) -> Series:
    """The series that a description in the store or in a slice describes.

    Raises:
        UnitFault: It does not, or `digest`, its name, is that of another series.
    """
    try:
        valid = SeriesDescription.model_validate(described)
    except ValidationError as error:
        raise fault_of(error) from error
    values = valid.model_dump(exclude={"format", "scored"})
    values |= {"stop": tuple(valid.stop), "choice": tuple(valid.choice), "scored": valid.scored is not None}
    series = Series(**values)
    if series.digest != digest:
        raise UnitFault("the description of the series does not belong to its name", digest)
    return series


def checked_table(
    data: bytes, series: Series, max_bytes: float = MAX_UNIT_BYTES, max_rows: float = MAX_UNIT_ROWS
) -> pa.Table:
    """The rows of a unit, each valid, and with the key that follows from its prompt.

    Args:
        max_bytes: Of the file, and of its rows in memory; infinite for a unit of one's own.
        max_rows: Likewise.

    Raises:
        UnitFault: It is no Parquet file with the columns of a unit, passes a limit, or a row is not valid.
    """
    if len(data) > max_bytes:
        raise UnitFault(f"the unit has {len(data):,} bytes, and at most {max_bytes:,} are read")
    try:
        _check_description(_open(data), max_bytes, max_rows)
        file = _open(data, read_dictionary=_TEXTS)
        batches, size, rows = [], 0, 0
        for batch in file.iter_batches(BATCH_ROWS, columns=SCHEMA.names, use_threads=False):
            batch.validate(full=True)  # reading does not look whether texts are UTF-8
            size += _expanded(batch, rows)
            if size > max_bytes:
                raise UnitFault(f"its rows have more than {max_bytes:,} bytes in memory")
            batches.append(pa.table(batch).cast(SCHEMA))
            _check_rows(batches[-1], rows, series)
            rows += len(batch)
        if rows != file.metadata.num_rows:
            raise UnitFault(f"it has {rows:,} rows, and says that it has {file.metadata.num_rows:,}")
        return pa.concat_tables([SCHEMA.empty_table(), *batches])
    except UnitFault:
        raise
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        said = str(error).split("\n")[0]
        raise UnitFault(f"not a Parquet file, or a damaged one: {shortened(said)}") from error


def read_table(data: bytes) -> pa.Table:
    """The rows of a unit that `checked_table` found good, read by the same code: another may crash where it did not."""
    file = _open(data, read_dictionary=_TEXTS)
    batches = file.iter_batches(BATCH_ROWS, columns=SCHEMA.names, use_threads=False)
    return pa.concat_tables([SCHEMA.empty_table(), *(pa.table(batch).cast(SCHEMA) for batch in batches)])


def _open(data: bytes, **how: Any) -> pq.ParquetFile:
    return pq.ParquetFile(
        pa.BufferReader(data),
        pre_buffer=False,
        thrift_string_size_limit=_THRIFT_STRINGS,
        thrift_container_size_limit=_THRIFT_ITEMS,
        **how,
    )


def _check_description(file: pq.ParquetFile, max_bytes: float, max_rows: float) -> None:
    """What the file says of its columns and sizes."""
    if file.schema_arrow.remove_metadata() != SCHEMA:
        has = ", ".join(f"{field.name} {field.type}" for field in file.schema_arrow)
        wanted = ", ".join(f"{field.name} {field.type}" for field in SCHEMA)
        raise UnitFault(f"has other columns than {wanted}", "columns", has)
    about = file.metadata
    if about.num_rows > max_rows or about.num_row_groups > MAX_ROW_GROUPS:
        raise UnitFault(
            f"{about.num_rows:,} rows in {about.num_row_groups:,} groups; "
            f"at most {max_rows:,} in {MAX_ROW_GROUPS} are read"
        )
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    size = sum(group.column(column).total_uncompressed_size for group in groups for column in range(len(SCHEMA)))
    if size > max_bytes:
        raise UnitFault(f"{size:,} bytes uncompressed, and at most {max_bytes:,} are read")


def _expanded(batch: pa.RecordBatch, before: int) -> int:
    """Bytes of a batch whose texts are indices into dictionaries, with each text in full."""
    size = 0
    for name in SCHEMA.names:
        column = batch[name]
        if name not in _TEXTS:
            size += column.nbytes
            continue
        lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
        longest = pc.max(lengths).as_py() or 0
        if longest > MAX_TEXT_BYTES:
            row = before + pc.index(lengths, longest).as_py() + 1
            problem = f"a text of {longest:,} bytes, and at most {MAX_TEXT_BYTES:,} are read"
            raise UnitFault(problem, f"row {row}, {name}")
        size += pc.sum(lengths).as_py() or 0
    return size


def _check_rows(table: pa.Table, before: int, series: Series) -> None:
    parts = (table.slice(start, LIST_ROWS).to_pylist() for start in range(0, len(table), LIST_ROWS))
    for number, values in enumerate(itertools.chain.from_iterable(parts), start=before + 1):
        try:
            row = Row.model_validate(values)
        except ValidationError as error:
            raise fault_of(error, f"row {number}") from error
        keys = {Request(row.prompt, row.sample_index, special).key(series) for special in (True, False)}
        if row.key not in keys:
            raise UnitFault("the key does not follow from its prompt", f"row {number}, key", row.key)
        if series.scored:
            _check_scored(row.text, number)


def _check_scored(text: str, number: int) -> None:
    """A scored completion is read as JSON by the search that requested it."""
    try:
        written, likelihood, tail = decode_scored(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise UnitFault("not a text with its log-probability", f"row {number}, text", text) from error
    number_given = isinstance(likelihood, int | float) and not isinstance(likelihood, bool)
    if not (isinstance(written, str) and isinstance(tail, str | None) and number_given and math.isfinite(likelihood)):
        raise UnitFault("not a text with its log-probability", f"row {number}, text", text)
