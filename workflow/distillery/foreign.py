r"""Files that others wrote: read as their format says, or refused with file, line and remedy.

    read_text     UTF-8, with or without a byte order mark
    parse_json    JSON as its standard says: no key twice, no NaN, no half of a surrogate pair
    json_lines    a JSON value a line, with LF or CRLF behind it
    csv_rows      rows of comma-separated values (RFC 4180), each with as many fields as the header

A line ends at LF only. Python's `str.splitlines` also breaks at U+2028, U+0085 and form feed, which are characters of a
text: a question that holds one would become two rows.

>>> [value for _, value in json_lines('{"q": "a\u2028b"}\r\n', "x.jsonl")]
[{'q': 'a\u2028b'}]
>>> csv_rows('question,gold\n"two\nlines",1\n', "x.csv")
[(2, {'question': 'two\nlines', 'gold': '1'})]
"""

import contextlib
import csv
import io
import json
import math
import re
import stat
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from distillery.errors import UserError

MAX_BYTES = 2**28
"""Bytes of one file. It is read whole, and its values take up to twenty times its size in memory."""

_SAVED_AS = (  # the mark of UTF-32 begins with that of UTF-16
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip file, as spreadsheets of Excel are"),
)

_JSON_PROBLEMS = {
    "recursion limit exceeded": "nested more than 200 deep",
    "number out of range": "a number of more than 4,300 digits",
    "lone leading surrogate in hex escape": "half of a surrogate pair, which is no character",
    "unexpected end of hex escape": "half of a surrogate pair, or of a \\u escape, which is no character",
}


def read_text(path: Path, file: object = None, *, limit: int = MAX_BYTES) -> str:
    """The text of a file, without a byte order mark.

    Args:
        path: A regular file: a pipe or a device could deliver without end.
        file: How messages name it; its path if not given.
        limit: Bytes that it may have.

    Raises:
        UserError: It is missing, unreadable, larger than `limit`, not UTF-8, or holds a NUL.
    """
    file = path if file is None else file
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
            raise UserError(f"cannot be read: it is {kind}", file=file, remedy="Name a file")
        if found.st_size > limit:
            raise UserError(
                f"{found.st_size:,} bytes, and at most {limit:,} are read", file=file, remedy="Split it, or shorten it"
            )
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserError("cannot be read: no such file", file=file, remedy="Check the path") from None
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise UserError(problem, file=file, remedy="Check the path and its permissions") from error
    except ValueError as error:  # a path with a NUL in it
        raise UserError(f"cannot be read: {error}", file=file, remedy="Check the path") from error
    for mark, kind in _SAVED_AS:
        if raw.startswith(mark):
            raise UserError(f"not a UTF-8 text: it is {kind}", file=file, remedy="Save it as text in UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError("not a UTF-8 text", file=file, line=line, remedy="Save it as text in UTF-8") from error
    if (nul := text.find("\0")) >= 0:
        raise UserError("a NUL byte", file=file, line=text.count("\n", 0, nul) + 1, remedy="Save it as text in UTF-8")
    return text


class _Refused:
    """Stands in a parsed value for what JSON must not hold, so that its place can be named."""

    def __init__(self, problem: str) -> None:
        self.problem = problem


def _float(text: str) -> float | _Refused:
    number = float(text)
    return number if math.isfinite(number) else _Refused(f"the number {text[:40]} is beyond the range of floats")


def _constant(text: str) -> _Refused:
    return _Refused(f"{text} is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Refused:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return _Refused(f"the key {twice!r} is given twice in one object")


def parse_json(text: str, file: object, *, line: int = 1, remedy: str = "Correct the file") -> Any:
    """The value of a JSON document.

    Args:
        text: The document.
        file: File that it stands in, for messages.
        line: Line of the file at which it begins.
        remedy: What to do about a fault.

    Raises:
        UserError: It is not JSON, or holds a key twice in one object, NaN or an infinity, a number of more than 4,300
            digits, half of a surrogate pair, or values nested more than 200 deep.
    """
    try:
        from_json(text, allow_inf_nan=True)  # refuses deep nesting and halves of surrogate pairs; `json` does not
        value = json.loads(text, object_pairs_hook=_object, parse_float=_float, parse_constant=_constant)
    except ValueError as error:
        said = re.fullmatch(r"(.*) at line (\d+) column (\d+)", str(error), re.DOTALL)
        problem, inner, column = said.groups() if said else (str(error), "1", "1")
        problem = _JSON_PROBLEMS.get(problem, f"not valid JSON: {problem}")
        raise UserError(
            f"{problem}, at column {column}", file=file, line=line + int(inner) - 1, remedy=remedy
        ) from error
    if refused := next(_refused(value, ()), None):
        key, problem = refused
        raise UserError(problem, file=file, line=line if "\n" not in text else None, key=key or None, remedy=remedy)
    return value


def _refused(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Dotted path and problem of what must not be there."""
    if isinstance(value, _Refused):
        yield ".".join(path), value.problem
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _refused(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _refused(inner, (*path, str(place)))


def json_lines(text: str, file: object, *, remedy: str = "Correct the line") -> Iterator[tuple[int, Any]]:
    """Number and value of each line that is not blank.

    Raises:
        UserError: A line is not JSON; `parse_json` says what else is refused.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip(" \t\r"):
            yield number, parse_json(line, file, line=number, remedy=remedy)


def csv_rows(
    text: str, file: object, *, delimiter: str = ",", ragged: bool = False, needed: Collection[str] = ()
) -> list[tuple[int, dict[str, str]]]:
    """Line and fields of each row below the header; a field in quotes may have several lines. Blank lines are no rows.

    Args:
        text: The file's text.
        file: How messages name it.
        delimiter: Between the fields.
        ragged: Whether a row may lack empty fields at its end, or have more of them: Excel writes the fields behind the
            last filled column for some rows only. Missing fields are empty then.
        needed: Columns that must be there.

    Raises:
        UserError: Quotes do not match, a column has no name or the name of another, a row has another number of fields
            than the header, or a carriage return stands alone outside quotes.

    Source: RFC 4180.
    """
    with _fields_of_any_length():
        reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, strict=True)
        start, rows = 1, []
        try:
            header = next(reader, [])
            if ragged:
                header = _without_empty_end(header, 0)
            _check_header(header, file, delimiter, needed)
            start = reader.line_num + 1
            for fields in reader:
                if fields and ragged:
                    fields = _without_empty_end(fields, len(header))
                    fields += [""] * (len(header) - len(fields))
                if fields and len(fields) != len(header):
                    raise UserError(
                        f"the row has {len(fields)} fields, and the header has {len(header)}",
                        file=file,
                        line=start,
                        remedy=f"Put fields that hold {delimiter!r} or a line break into double quotes",
                    )
                if fields:
                    rows.append((start, dict(zip(header, fields, strict=True))))
                start = reader.line_num + 1
        except csv.Error as error:
            problem, remedy = f"not valid CSV: {error}", "Put such a field into double quotes, and double those inside"
            if "new-line" in str(error):
                problem = "a carriage return alone ends no row"
                remedy = "Save the file with LF or CRLF line ends; put a field with line breaks into double quotes"
            elif "end of data" in str(error):
                problem, remedy = "the double quote that opens a field here is never closed", "Close or double it"
            raise UserError(problem, file=file, line=start, remedy=remedy) from error
    return rows


def _without_empty_end(fields: list[str], length: int) -> list[str]:
    """The fields without empty fields behind the given length."""
    while len(fields) > length and not fields[-1].strip():
        fields = fields[:-1]
    return fields


def _check_header(names: list[str], file: object, delimiter: str, needed: Collection[str]) -> None:
    if not names:
        raise UserError("no header", file=file, line=1, remedy="Name the columns in the first line")
    other = next((sign for sign in ",;\t" if sign != delimiter and sign in names[0]), None)
    if len(names) == 1 and other is not None:
        problem = f"the fields are separated by {other!r}, and not by {delimiter!r}"
        raise UserError(problem, file=file, line=1, value=names[0], remedy="Save it with commas between the fields")
    for number, name in enumerate(names, start=1):
        if not name.strip():
            remedy = "Name it in the header, or remove it"
            raise UserError(f"column {number} has no name", file=file, line=1, remedy=remedy)
        if name in names[: number - 1]:
            remedy = "Rename or remove one of them"
            raise UserError("two columns have this name", file=file, line=1, value=name, remedy=remedy)
    if missing := [name for name in needed if name not in names]:
        problem, remedy = f"the header lacks {' and '.join(missing)}", "Keep these columns and their names"
        raise UserError(problem, file=file, line=1, value=delimiter.join(names), remedy=remedy)


@contextlib.contextmanager
def _fields_of_any_length() -> Iterator[None]:
    """The `csv` module refuses fields of more than 131,072 characters by default; its limit is one of the process."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
