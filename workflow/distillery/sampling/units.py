"""Units: the files of the completion store, and what one holds.

A unit is read as if anybody could have written it. Bytes that do not belong to its name, another format and rows that
are no completions are reported and left out.
"""

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from distillery.records import FinishReason

logger = logging.getLogger(__name__)

UNIT = re.compile(r"\d{20,}-[0-9a-f]{32}\.parquet")
FINISH_REASONS = frozenset(get_args(FinishReason))
GIVES_WAY = {"refused": 1, "failed": 2}
"""Outcomes that give way to a later completion that ended (0), or that was at least refused."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A completion as the store gives it back; the prompt that it answers is kept beside it."""

    key: str
    sample_index: int
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("prompt", pa.string()),
        ("sample_index", pa.int32()),
        ("text", pa.string()),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
    ]
)


def table_of(completions: Sequence[tuple[str, Stored]]) -> pa.Table:
    """Prompts and completions as the rows of a unit."""
    columns: dict[str, list[Any]] = {
        field.name: [getattr(completion, field.name) for _, completion in completions] for field in fields(Stored)
    }
    return pa.table({**columns, "prompt": [prompt for prompt, _ in completions]}).select(SCHEMA.names).cast(SCHEMA)


def time_of(name: str) -> int:
    """Time of writing of a unit, in nanoseconds, from its name; 0 for a foreign file."""
    file = name.rsplit("/", 1)[-1]
    return int(file.split("-")[0]) if UNIT.fullmatch(file) else 0


def is_whole(name: str, data: bytes) -> bool:
    """Whether the digest in a unit's name is that of its bytes."""
    stem = name.rsplit("/", 1)[-1].removesuffix(".parquet")
    return hashlib.sha256(data).hexdigest()[:32] == stem.rsplit("-", 1)[-1]


def rows_of(name: str, data: bytes, columns: Sequence[str]) -> pa.Table:
    """The rows of a unit that are records; those that no version of this store writes are reported and left out.

    Raises:
        pa.ArrowException, OSError, ValueError, KeyError: The file is no Parquet file with these columns.
    """
    # One thread for each unit: they are small, and many are read at a time.
    table = pq.ParquetFile(pa.BufferReader(data)).read(list(columns), use_threads=False).select(columns)
    for column in columns:
        if _kind(table.schema.field(column).type) != _kind(SCHEMA.field(column).type):
            raise ValueError(f"column {column} holds {table.schema.field(column).type}")
    table = table.cast(pa.schema([SCHEMA.field(column) for column in columns]))
    table.validate(full=True)
    good = pa.chunked_array([pa.array([True] * len(table), pa.bool_())])
    for column in columns:
        values = table[column]
        good = pc.and_(good, pc.is_valid(values))
        if column == "finish_reason":
            good = pc.and_(good, pc.is_in(values, pa.array(sorted(FINISH_REASONS))))
        elif pa.types.is_integer(values.type):
            good = pc.and_(good, pc.fill_null(pc.greater_equal(values, 0), False))
    if pc.all(good).as_py() is False:
        logger.warning("%s holds rows that are no completions: they are left out", name)
        table = table.filter(good)
    return table


def _kind(kind: pa.DataType) -> str:
    """Text or whole number, however wide; anything else by its name."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return "whole number" if pa.types.is_integer(kind) else str(kind)
