"""Logging of a job: milestones to its log file and to the terminal, warnings of libraries included.

Names and texts of others come into messages, so that a log shows control characters instead of writing them
(`distillery.visible`).
"""

import logging
import os
import sys
import traceback
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

from distillery.temporary import DISK_ERRORS
from distillery.visible import visible

TERMINAL_VARIABLE = "DISTILLERY_TERMINAL"
"""Level from which a job's messages reach the terminal; all of them without it. Its log file has them all."""


class VisibleFormatter(logging.Formatter):
    """A formatter whose lines command no terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class LogFile(logging.FileHandler):
    """A log file whose disk may be full: the job continues, and one line on the terminal says so.

    The logging module would print a traceback for every line that cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._lost = False
        super().__init__(path, encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError) or error.errno not in DISK_ERRORS:
            super().handleError(record)
        elif not self._lost:
            self._lost = True
            _say(f"{self.baseFilename}: the log cannot be written ({error.strerror}); the job continues without it")

    def close(self) -> None:
        try:
            super().close()
        except OSError:  # what a full disk did not take
            self.stream = None  # type: ignore[assignment]  # closed all the same


def log_to(path: Path | None) -> None:
    """Send the log to `path` (appended, so that a resumed job keeps its history) and to standard error."""
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(os.environ.get(TERMINAL_VARIABLE, "NOTSET"))
    handlers: list[logging.Handler] = [terminal]
    if path is not None:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            handlers.append(LogFile(path))
        except OSError as error:
            _say(f"{path}: the log cannot be written ({error.strerror}); the job continues without it")
    level = os.environ.get("DISTILLERY_LOG_LEVEL", "INFO")
    for handler in handlers:
        handler.setFormatter(VisibleFormatter("%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=level, handlers=handlers, force=True)
    warnings.formatwarning = _format_warning
    sys.excepthook = print_traceback
    for noisy in ("httpx", "httpx2", "urllib3", "filelock", "fsspec", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def show_warnings() -> None:
    """Of a process without a log: warnings go to standard error as they are, but visible."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(VisibleFormatter("%(message)s"))


_format_as_before = warnings.formatwarning


def _format_warning(*args: Any, **kwargs: Any) -> str:
    return visible(_format_as_before(*args, **kwargs))


def print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an exception that nobody caught, as Python does: its message may hold a text of others."""
    sys.stderr.write(visible("".join(traceback.format_exception(kind, error, trace))))


def _say(text: str) -> None:
    sys.stderr.write(visible(f"{text}\n"))
