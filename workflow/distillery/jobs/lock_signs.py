"""Signs of lock files: who holds a lock, in words, and whether that process is stopped.

A sign may come from another user: it is checked when it is read, and holds nothing that a terminal would obey.
"""

import contextlib
import json
import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

BEAT_SECONDS = 5.0
"""Seconds between two signs of life of a holder."""
COMMAND_CHARACTERS = 200


def write_sign(file: IO[str]) -> None:
    """Write who holds the lock, for people who wait."""
    sign = {
        "process": os.getpid(),
        "host": platform.node(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv)[:COMMAND_CHARACTERS],
        "born": _state(os.getpid())[1],
        "beat": BEAT_SECONDS,
    }
    with contextlib.suppress(OSError):
        file.seek(0)
        file.truncate()
        file.write(json.dumps(sign))
        file.flush()


def read_sign(path: Path) -> dict[str, Any] | None:
    """What the holder wrote, with `file` (its identity) and `touched` (the last sign of life); None where unreadable.

    The file is opened, since opening makes a network file system ask its server.
    """
    try:
        with open(path, encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            sign = json.load(file)
        beat = {"beat": float(sign["beat"])} if "beat" in sign else {}
        words = {name: _printable(str(sign.get(name, ""))) for name in ("host", "since", "command")}
        return {
            **words,
            **beat,
            "process": int(sign["process"]),
            "born": sign.get("born"),
            "file": (status.st_dev, status.st_ino),
            "touched": status.st_mtime_ns,
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _printable(text: str) -> str:
    """A text of another user, without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)[: 2 * COMMAND_CHARACTERS]


def in_words(sign: dict[str, Any]) -> str:
    command = f" ({sign['command']})" if sign["command"] else ""
    stopped = f"; it is stopped: `kill -CONT {sign['process']}` continues it" if is_stopped(sign) else ""
    return f"process {sign['process']} on {sign['host']}{command}, since {sign['since']}{stopped}"


def is_stopped(sign: dict[str, Any]) -> bool:
    """Whether the holder is a stopped process of this machine; False for one of another machine."""
    if sign["host"] != platform.node():
        return False
    state, born = _state(sign["process"])
    return state in ("T", "t") and sign["born"] in (None, born)


def _state(process: int) -> tuple[str, int]:
    """State of a process of this machine and when it began, in ticks; empty and 0 where /proc does not say."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
        return fields[0], int(fields[19])
    return "", 0
