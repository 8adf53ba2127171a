"""`snakemake --logger distillery`: one line for each job that starts or fails instead of a block, and warnings as ever.

Snakemake finds logger plugins by the name of their package. What a line says is in `distillery.planning.progress`.
A job writes its own error to the terminal (`distillery.logs`). Of a job that could not, because it was killed, the
terminal gets the last lines of its log.
"""

import logging
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snakemake.logging import DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from distillery.logs import last_words
from distillery.planning.progress import Progress, read_forecast
from distillery.visible import visible

SILENT = {
    None,
    LogEvent.JOB_FINISHED,
    LogEvent.JOB_STARTED,
    LogEvent.RESOURCES_INFO,
    LogEvent.SHELLCMD,
    LogEvent.WORKFLOW_STARTED,
}
"""Events that have no line: the log file of Snakemake has them."""

ONLY_STATUS = re.compile(
    r"RuleException:\nCalledProcessError .*\.snakemake/scripts/.* returned non-zero exit status", re.S
)
"""What Snakemake says of a script that ended with an error, beside the line of the job. Of a signal it is news."""


class LogHandler(LogHandlerBase):
    """Prints progress; a dry run is printed as Snakemake prints it."""

    def __post_init__(self) -> None:
        settings = self.common_settings
        self._stream = sys.stdout if settings.stdout else sys.stderr
        self._progress = Progress(read_forecast())
        self._default = DefaultFormatter(settings.quiet, settings.show_failed_logs)
        self._shown = DefaultFilter(
            settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds
        )
        self._wildcards: dict[int, Mapping[str, str]] = {}
        self._complete = settings.show_failed_logs

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._line(record)
            if line:
                print(visible(line), file=self._stream, flush=True)
        except Exception:
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str:
        if not self._shown.filter(record):
            return ""
        event = getattr(record, "event", None)
        if event is LogEvent.JOB_ERROR and record.__dict__["log"] and not self._complete:
            return self._failed(record.__dict__)
        if record.levelno >= logging.WARNING and ONLY_STATUS.match(record.getMessage()):
            return ""
        if self.common_settings.dryrun or record.levelno >= logging.WARNING:
            return self._default.format(record)
        if event is LogEvent.RUN_INFO:
            self._progress.total = int(record.__dict__.get("stats", {}).get("total", 0))
            return f"{self._progress.total} jobs"
        if event is LogEvent.PROGRESS:
            self._progress.done, self._progress.total = record.__dict__["done"], record.__dict__["total"]
            return f"all {record.__dict__['total']} done" if record.__dict__["done"] == record.__dict__["total"] else ""
        if event is LogEvent.JOB_INFO:
            fields = record.__dict__
            if not fields["output"]:
                return ""  # a target, which makes nothing
            self._wildcards[fields["jobid"]] = fields["wildcards"]
            return self._progress.started(fields["rule_name"], fields["wildcards"], list(fields["output"]), time.time())
        if event in SILENT:
            return ""
        return self._default.format(record)

    def _failed(self, fields: Mapping[str, Any]) -> str:
        """The line of a job that failed, with its log file, and the last lines of that file if nobody has seen them."""
        wildcards = self._wildcards.get(fields["jobid"], {})
        line = self._progress.failed(fields["rule_name"], wildcards, list(fields["log"]), time.time())
        last = [words for log in fields["log"] for words in last_words(Path(log))]
        return "\n".join([line, *(["The last lines of its log:"] if last else []), *last])

    @property
    def writes_to_stream(self) -> bool:
        """Takes the place of Snakemake's own lines."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Snakemake's log file stays complete."""
        return False

    @property
    def has_filter(self) -> bool:
        """Decides itself what is printed."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Writes its own lines."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Prints no graph."""
        return False
