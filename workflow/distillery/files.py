"""Files that appear whole or not at all, and digests of what is in them."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from distillery.temporary import replacement


@contextlib.contextmanager
def atomic_open(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside `path` and move it there at the end; after an exception nothing is left."""
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    with replacement(Path(path)) as descriptor, os.fdopen(descriptor, mode, closefd=False, **text) as out:
        yield out


def write_json(path: Path, value: object) -> None:
    """Write one JSON document, sorted and indented, atomically."""
    with atomic_open(path) as out:
        out.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict:
    """Read one JSON object."""
    with open(path, encoding="utf-8") as text:
        return json.load(text)


def read_json_lines(path: Path) -> list[dict]:
    """Read one JSON object a line, in the order of the file. Lines end at LF, and at no other character of a text."""
    with open(path, encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
