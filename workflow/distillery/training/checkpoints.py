"""Checkpoints: partial progress that survives a kill at any moment.

    <checkpoints>/checkpoint-40/     weights, optimizer, schedule, random states, trainer_state.json
                     whole.json      size and SHA-256 of each of these files, and the seconds spent so far
    <checkpoints>/.writing/          what a killed process left unfinished; deleted

A checkpoint is written under another name, sealed with `whole.json` and renamed; on resume its digests are checked, and
a torn one (a full disk, a lost page after a power failure) is skipped for the one before. Two are kept.
"""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from distillery.files import sha256_file, write_json

SEAL = "whole.json"
KEPT = 2

logger = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """A checkpoint that is whole."""

    path: Path
    step: int
    seconds: float


def writing_folder(checkpoints: Path) -> Path:
    """Where the next checkpoint is written before it is sealed."""
    return Path(checkpoints) / ".writing"


def seal(checkpoints: Path, step: int, seconds: float) -> None:
    """Publish the checkpoint of `step` in the writing folder, then delete all but the newest two."""
    written = writing_folder(checkpoints) / f"checkpoint-{step}"
    files = [path for path in sorted(written.rglob("*")) if path.is_file()]
    for path in files:
        with open(path, "rb") as data:
            os.fsync(data.fileno())
    digests = {path.relative_to(written).as_posix(): [path.stat().st_size, sha256_file(path)] for path in files}
    write_json(written / SEAL, {"files": digests, "seconds": seconds})
    target = Path(checkpoints) / written.name
    shutil.rmtree(target, ignore_errors=True)
    written.rename(target)
    for old in sorted(_folders(checkpoints), key=_step)[:-KEPT]:
        shutil.rmtree(old)


def last_whole(checkpoints: Path) -> Checkpoint | None:
    """The newest checkpoint whose files match their digests; torn checkpoints are named in the log and removed."""
    shutil.rmtree(writing_folder(checkpoints), ignore_errors=True)
    for folder in sorted(_folders(checkpoints), key=_step, reverse=True):
        fault, seconds = _examine(folder)
        if fault is None:
            return Checkpoint(folder, _step(folder), seconds)
        logger.warning("%s is torn (%s); the one before is used", folder, fault)
        shutil.rmtree(folder)
    return None


def _folders(checkpoints: Path) -> list[Path]:
    return [path for path in Path(checkpoints).glob("checkpoint-*") if path.name.split("-")[1].isdecimal()]


def _step(folder: Path) -> int:
    return int(folder.name.split("-")[1])


def _examine(folder: Path) -> tuple[str | None, float]:
    try:
        sealed = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        files, seconds = dict(sealed["files"]), float(sealed["seconds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{SEAL}: {error}", 0.0
    for name, (size, digest) in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size or sha256_file(path) != digest:
            return name, 0.0
    return None, seconds
