"""Rows of a local file: JSON, JSON Lines, CSV or Parquet, by its suffix. A file with a fault gives no row at all."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from distillery.errors import UserError
from distillery.foreign import MAX_BYTES, csv_rows, json_lines, parse_json, read_text

_ARRAY = "neither a JSON array nor an object with an array under `data`"
_ROW = 'A row looks like {"question": ..., "gold": ...}'
_BATCH = 1024
"""Rows of a Parquet file that are decoded at once."""

_VALUE = 100
"""Bytes that a value takes beside its text; millions of nulls take a few bytes of a file."""


def read_rows(path: Path, name: str) -> list[dict[str, Any]]:
    """All rows of a file, in its order.

    Args:
        path: The file.
        name: How messages name it.

    Raises:
        UserError: The suffix is unknown, or the file is not what its suffix says.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in _READERS:
        raise UserError("unknown kind of file", file=name, remedy=f"Use one of {', '.join(_READERS)}")
    return list(_READERS[suffix](path, name))


def _object(value: Any, name: str, *, line: int | None = None, key: str | None = None) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError("not a JSON object", file=name, line=line, key=key, remedy=_ROW)
    return value


def _json_rows(path: Path, name: str) -> Iterator[dict[str, Any]]:
    remedy = "Correct the file; a file with one object a line is named .jsonl"
    table = parse_json(read_text(path, name), name, remedy=remedy)
    if isinstance(table, dict):
        table = table.get("data")
    if not isinstance(table, list):
        raise UserError(_ARRAY, file=name, remedy="Convert it; a file with one object a line is named .jsonl")
    for index, value in enumerate(table):
        yield _object(value, name, key=f"row {index}")


def _json_lines(path: Path, name: str) -> Iterator[dict[str, Any]]:
    remedy = "Write one JSON object in each line; an array belongs into a .json file"
    for number, value in json_lines(read_text(path, name), name, remedy=remedy):
        yield _object(value, name, line=number)


def _csv_rows(path: Path, name: str) -> Iterator[dict[str, Any]]:
    for _, fields in csv_rows(read_text(path, name), name):
        yield fields


def _parquet_rows(path: Path, name: str) -> Iterator[dict[str, Any]]:
    """Rows of a Parquet file, as long as they are within `MAX_BYTES` when decoded.

    A few bytes can stand for gigabytes: a value that many rows share is stored once. Texts therefore stay in their
    dictionary until the size of a batch is known.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    if not path.is_file():
        raise UserError("cannot be read: no such file", file=name, remedy="Check the path in the task file")
    try:
        with ParquetFile(path) as found:
            texts = [found.schema.column(place).path for place in range(len(found.schema))]
            declared = sum(found.metadata.row_group(group).total_byte_size for group in range(found.num_row_groups))
            columns = found.schema_arrow.names
            values = found.metadata.num_rows * len(columns)
        if len(set(columns)) < len(columns):
            raise UserError("two columns have one name", file=name, value=columns, remedy="Rename one of them")
        size = declared + values * _VALUE
        with ParquetFile(path, read_dictionary=texts) as found:
            for batch in found.iter_batches(_BATCH) if size <= MAX_BYTES else ():
                size += sum(map(_decoded, batch.columns))
                if size > MAX_BYTES:
                    break
                yield from batch.to_pylist()
    except (OSError, ArrowException, ValueError, OverflowError) as error:
        raise UserError(f"cannot be read: {error}", file=name, remedy="Write the file again") from error
    if size > MAX_BYTES:
        problem = f"its rows take more than {MAX_BYTES:,} bytes when decoded"
        raise UserError(problem, file=name, remedy="Keep only the columns and rows that the task needs")


def _decoded(column: Any) -> int:
    """Bytes of a column once the texts of its dictionary are written out for each row."""
    import pyarrow
    from pyarrow import compute, types

    if types.is_dictionary(column.type) and column.dictionary.type in (pyarrow.string(), pyarrow.binary()):
        lengths = compute.binary_length(column.dictionary)
        return compute.sum(lengths.take(column.indices)).as_py() or 0
    if types.is_map(column.type):
        return _decoded(column.keys) + _decoded(column.items)
    if types.is_list(column.type) or types.is_large_list(column.type):
        return _decoded(column.flatten())
    if types.is_struct(column.type):
        return sum(map(_decoded, column.flatten()))
    return column.nbytes


_READERS: dict[str, Callable[[Path, str], Iterator[dict[str, Any]]]] = {
    ".json": _json_rows,
    ".jsonl": _json_lines,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}
