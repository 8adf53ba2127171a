"""Files that appear whole or not at all, and digests of what is in them."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


@contextlib.contextmanager
def atomic_open(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside `path` and move it there at the end; after an exception nothing is left.

    The content is on disk before the name is (fsync, then rename), so that a crash leaves the old file or the new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, mode, **text) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.chmod(name, 0o666 & ~umask())  # mkstemp makes private files; results are as readable as any other file
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def umask() -> int:
    """The permissions that new files of this process lack; asking means setting it, and setting it back."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
