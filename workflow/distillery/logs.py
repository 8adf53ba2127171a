"""Logging of a job: milestones to its log file and to the terminal, warnings of libraries included."""

import logging
import os
import sys
from pathlib import Path

TERMINAL_VARIABLE = "DISTILLERY_TERMINAL"
"""Level from which a job's messages reach the terminal; all of them without it. Its log file has them all."""


def log_to(path: Path | None) -> None:
    """Send the log to `path` (appended, so that a resumed job keeps its history) and to standard error."""
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(os.environ.get(TERMINAL_VARIABLE, "NOTSET"))
    handlers: list[logging.Handler] = [terminal]
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, encoding="utf-8"))
    level = os.environ.get("DISTILLERY_LOG_LEVEL", "INFO")
    logging.basicConfig(
        level=level, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S", handlers=handlers, force=True
    )
    for noisy in ("httpx", "urllib3", "filelock", "fsspec", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
