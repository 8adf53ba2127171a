"""Logging of a job: all that it and its libraries print goes to its log file; the terminal has what people must read.

Libraries, compiled code and child processes print to the file descriptors 1 and 2. A job with a log file points both
to that file (`log_to`), so that two jobs at a time do not drown each other and nothing is lost when a job is killed.
The terminal gets the project's own warnings, and the error of a job that fails, once.

Names and texts of others come into messages, so that a log shows control characters instead of writing them
(`distillery.visible`).
"""

import contextlib
import ctypes
import functools
import io
import logging
import os
import sys
import sysconfig
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from distillery.temporary import DISK_ERRORS
from distillery.visible import visible

TERMINAL_VARIABLE = "DISTILLERY_TERMINAL"
"""Level from which a job's messages reach the terminal: WARNING without it. Its log file has them all."""

LEVEL_VARIABLE = "DISTILLERY_LOG_LEVEL"
"""Level from which a job's messages reach its log file: INFO without it."""

LAST_LINES = 20
"""Lines of a traceback or of a log that the terminal shows of a job that failed."""

STARTED, REPORTED = "--- the job starts", "--- the job ended with an error, which it reported"
"""Lines of a log file. Between them lies one run of the job: a log is appended to."""

LIBRARIES = tuple({os.path.join(sysconfig.get_path(name), "") for name in ("purelib", "platlib", "stdlib")})

LINE_BUFFERED = 1
"""_IOLBF of the C library."""

logger = logging.getLogger(__name__)


class VisibleFormatter(logging.Formatter):
    """A formatter whose lines command no terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class LogFile(logging.FileHandler):
    """A log file whose disk may be full: the job continues, and one line on the terminal says so.

    The logging module would print a traceback for every line that cannot be written.
    """

    def __init__(self, path: Path, terminal: TextIO) -> None:
        self._lost = False
        self._terminal = terminal
        super().__init__(path, encoding="utf-8", errors="backslashreplace")

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError) or error.errno not in DISK_ERRORS:
            super().handleError(record)
        elif not self._lost:
            self._lost = True
            _say(self._terminal, _lost(self.baseFilename, error))

    def close(self) -> None:
        try:
            super().close()
        except OSError:  # what a full disk did not take
            self.stream = None  # type: ignore[assignment]  # closed all the same


class LogStream(io.TextIOWrapper):
    """What takes the place of `sys.stdout` and `sys.stderr`: each write is in the log file at once.

    What a full disk does not take is lost, and the library that printed it continues.
    """

    def __init__(self, descriptor: int) -> None:
        raw = io.FileIO(descriptor, "w", closefd=False)
        super().__init__(raw, encoding="utf-8", errors="backslashreplace", write_through=True)  # type: ignore[type-var]  # as Python's own with -u

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            return len(text)


class _TerminalFormatter(VisibleFormatter):
    """Warnings and errors name the log file, because several jobs share the terminal."""

    def __init__(self, path: Path) -> None:
        super().__init__("%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
        self._named = VisibleFormatter(f"%(asctime)s {str(path).replace('%', '%%')}: %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return self._named.format(record) if record.levelno >= logging.WARNING else super().format(record)


def log_to(path: Path | None) -> None:
    """Send the log to `path`, with all that the process and its children print; to standard error without a path.

    The file is appended to, so that a resumed job keeps its history. Where it cannot be written, the terminal gets
    everything.
    """
    terminal: TextIO = sys.stderr
    handlers: list[logging.Handler] = []
    sys.excepthook = print_traceback
    if path is not None:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            _say(terminal, _lost(path, error))
        else:
            terminal = _redirect(descriptor)
            handlers.append(LogFile(path, terminal))
            handlers[0].setFormatter(VisibleFormatter("%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S"))
            _mark(STARTED)
            sys.excepthook = _report_to(terminal, path)
    handlers.append(_terminal_handler(terminal, path if handlers else None))
    logging.basicConfig(level=os.environ.get(LEVEL_VARIABLE, "INFO"), handlers=handlers, force=True)
    warnings.formatwarning = _format_warning
    for noisy in ("httpx", "httpx2", "urllib3", "filelock", "fsspec", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def report(error: Exception) -> None:
    """Log the error with which a job ends, for the log file and the terminal."""
    logger.error("%s", error)
    _mark(REPORTED)


def last_words(path: Path) -> list[str]:
    """The last lines that a job wrote to its log, if it ended without a report of its own: a killed job, for example.

    Returns:
        At most `LAST_LINES` lines, shortened; none where the job itself wrote its error to the terminal.
    """
    try:
        with open(path, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - (1 << 16)))
            lines = log.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return []
    begin = max((number for number, line in enumerate(lines) if line.endswith(STARTED)), default=-1) + 1
    run = [_after_bars(line) for line in lines[begin:]]
    if any(line.endswith(REPORTED) for line in run):
        return []
    return [visible(line[:300]) for line in run if line.strip()][-LAST_LINES:]


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


@functools.cache
def _terminal() -> TextIO:
    """Where errors of this process went at first. Not inherited: a child that outlives its job must not hold it."""
    return open(os.dup(2), "w", encoding="utf-8", errors="backslashreplace", buffering=1)  # as long as the process


def _redirect(descriptor: int) -> TextIO:
    """Point standard output and standard error of this process to a file; return the terminal."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    terminal = _terminal()
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.close(descriptor)
    sys.stdout, sys.stderr = LogStream(1), LogStream(2)
    os.environ["PYTHONUNBUFFERED"] = "1"  # of children
    with contextlib.suppress(OSError, ValueError, AttributeError):  # compiled code that prints: lines, not blocks
        library = ctypes.CDLL(None)
        library.setvbuf(ctypes.c_void_p.in_dll(library, "stdout"), None, LINE_BUFFERED, 0)
    return terminal


def _terminal_handler(terminal: TextIO, log: Path | None) -> logging.Handler:
    """What a person must read. A job run by hand, without a log, has the terminal for itself and shows everything."""
    handler = logging.StreamHandler(terminal)
    if log is None:
        handler.setFormatter(VisibleFormatter("%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S"))
        handler.setLevel(os.environ.get(TERMINAL_VARIABLE, "NOTSET").upper())
    else:
        handler.setFormatter(_TerminalFormatter(log))
        handler.setLevel(os.environ.get(TERMINAL_VARIABLE, "WARNING").upper())
        handler.addFilter(_can_be_acted_on)
    return handler


def _can_be_acted_on(record: logging.LogRecord) -> bool:
    """Messages of the project and of a user's extensions, and errors of libraries; their warnings are in the log."""
    ours = record.name.partition(".")[0] == __name__.partition(".")[0]
    return ours or record.levelno >= logging.ERROR or not record.pathname.startswith(LIBRARIES)


def _report_to(
    terminal: TextIO, path: Path
) -> Callable[[type[BaseException], BaseException, TracebackType | None], None]:
    """The end of a job by an exception that nobody caught: all of it in the log, its last lines on the terminal."""

    def report_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        text = visible("".join(traceback.format_exception(kind, error, trace)))
        sys.stderr.write(text)
        if not issubclass(kind, KeyboardInterrupt):  # the person at the terminal knows
            last = "\n".join(line[:300] for line in text.rstrip().splitlines()[-LAST_LINES:])
            _say(terminal, f"{time.strftime('%H:%M:%S')} {path}: the job failed; the last lines of its log:\n{last}")
            _mark(REPORTED)

    return report_exception


def _mark(line: str) -> None:
    if isinstance(sys.stderr, LogStream):
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")


def _after_bars(line: str) -> str:
    """A line as a terminal shows it in the end: a progress bar returns to the line's begin again and again."""
    return line.rstrip("\r").rpartition("\r")[2]


def _lost(path: Path | str, error: OSError) -> str:
    return f"{path}: the log cannot be written ({error.strerror}); the job continues without it"


def _say(stream: TextIO, text: str) -> None:
    stream.write(visible(f"{text}\n"))
