"""What came of running one program: the closed list of outcomes, and the reader of a run's record.

The record comes out of the process that ran the program, so it may hold anything. `parse_record` lets through only
what fits the schema exactly; what it lets through is a claim about the program's own value, and no more than that:

    length (4 bytes, big-endian), then one JSON object: status, kind, value, error, message, stdout_lines, last_stdout

>>> parse_record(b"")
>>> Execution(RunOutcome.EXCEPTION, detail="NameError").label
'exception:NameError'
"""

import json
import re
import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_RECORD = 65_536
"""Bytes that a run may send back, and characters that it may print."""

KINDS = ("int", "float", "str", "bool", "none", "other")
ACCEPTED = ("int", "float", "str")
"""Kinds of value that some task accepts. Which of them a given task accepts is for `matching` to say."""


class RunOutcome(StrEnum):
    """The closed list of what can come of a run (PaD specification, section 9.4)."""

    OK = "ok"
    WRONG_TYPE = "wrong_type"
    SYNTAX = "syntax"
    EXCEPTION = "exception"
    TIMEOUT_CPU = "timeout_cpu"
    TIMEOUT_WALL = "timeout_wall"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    KILLED = "killed"
    REJECTED = "rejected"
    SANDBOX_ERROR = "sandbox_error"


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of one program, `print(solution())` included."""

    outcome: RunOutcome
    detail: str = ""
    """Class of the exception, rule of the gate, or name of the signal; empty where the outcome says it all."""
    kind: str | None = None
    """Type of the value of `solution()`, one of `KINDS`; None if there is no value."""
    value: str | None = None
    """The value as text: `str` of an int, `repr` of a float, a string itself, the type's name for `other`."""
    message: str = ""
    """Message of the exception, up to 500 characters."""
    stdout_lines: int = 0
    """Lines on standard output, the one that prints the value included."""
    last_stdout: str | None = None
    """The first 200 characters of the only line; None unless there is exactly one."""
    traceback_line: str | None = None
    """What a user would see: the last line of the traceback; None if nothing was raised."""
    seconds: float = 0.0
    """Wall time of the run. Not reproducible: it belongs in logs, not in records that are compared."""

    @property
    def label(self) -> str:
        """RunOutcome and detail in one word, as counted in reports: `exception:NameError`, `rejected:import`."""
        return f"{self.outcome}:{self.detail}" if self.detail else str(self.outcome)

    @property
    def timed_out(self) -> bool:
        return self.outcome in (RunOutcome.TIMEOUT_CPU, RunOutcome.TIMEOUT_WALL)


def parse_record(data: bytes) -> dict[str, Any] | None:
    """The record in `data`, or None if it is not exactly one record that fits the schema."""
    if not 4 <= len(data) <= MAX_RECORD or int.from_bytes(data[:4], "big") != len(data) - 4:
        return None
    try:
        record = json.loads(data[4:])
    except (ValueError, RecursionError):  # not JSON, not UTF-8, a number of 5,000 digits, ten thousand brackets
        return None
    if not isinstance(record, dict) or record.keys() != _SCHEMA.keys():
        return None
    if not all(fits(record[key]) for key, fits in _SCHEMA.items()):
        return None
    has_value = record["status"] == "value"
    if has_value != (record["kind"] is not None) or has_value != (record["value"] is not None):
        return None
    if (record["last_stdout"] is not None) != (record["stdout_lines"] == 1):
        return None
    if has_value and not _VALUE[record["kind"]](record["value"]):
        return None
    return {key: _clean(value) if isinstance(value, str) else value for key, value in record.items()}


def execution_of(data: bytes, *, signal_number: int, exit_code: int, over: bool, seconds: float) -> Execution:
    """What a run was, from the bytes that it sent and the way it ended.

    Args:
        data: All that came out of the result pipe.
        signal_number: The signal that ended the process, 0 for none.
        exit_code: Its exit code, if no signal did.
        over: Whether it was killed because it sent more than `MAX_RECORD` bytes.
        seconds: Wall time from its start to its end.
    """
    if over:
        return Execution(RunOutcome.OUTPUT_LIMIT, seconds=seconds)
    if signal_number == signal.SIGXCPU:
        return Execution(RunOutcome.TIMEOUT_CPU, seconds=seconds)
    if signal_number:
        try:
            name = signal.Signals(signal_number).name
        except ValueError:
            name = f"signal {signal_number}"
        return Execution(RunOutcome.KILLED, name, seconds=seconds)
    record = parse_record(data)
    if record is None or exit_code != 0:  # `os._exit(0)` lands here: silence is no success
        return Execution(RunOutcome.KILLED, "no record", seconds=seconds)
    printed = {"stdout_lines": record["stdout_lines"], "last_stdout": record["last_stdout"], "seconds": seconds}
    if record["status"] == "value":
        outcome = RunOutcome.OK if record["kind"] in ACCEPTED else RunOutcome.WRONG_TYPE
        return Execution(outcome, kind=record["kind"], value=record["value"], **printed)
    if record["status"] == "output_limit":
        return Execution(RunOutcome.OUTPUT_LIMIT, **printed)
    error, message = record["error"] or "Exception", record["message"]
    line = f"{error}: {' '.join(message.split())}" if message.strip() else error
    raised: dict[str, Any] = {"message": message, "traceback_line": line, **printed}
    if record["status"] == "memory":
        return Execution(RunOutcome.MEMORY, **raised)
    if record["status"] == "syntax":
        return Execution(RunOutcome.SYNTAX, **raised)
    return Execution(RunOutcome.EXCEPTION, error, **raised)


def _text(most: int) -> Any:
    return lambda value: type(value) is str and len(value) <= most


def _or_none(fits: Any) -> Any:
    return lambda value: value is None or fits(value)


_SCHEMA: dict[str, Any] = {
    "status": lambda value: value in ("value", "error", "syntax", "memory", "output_limit"),
    "kind": _or_none(lambda value: type(value) is str and value in KINDS),
    "value": _or_none(_text(200)),
    "error": _or_none(lambda value: type(value) is str and re.fullmatch(r"\w{1,100}", value) is not None),
    "message": _text(500),
    "stdout_lines": lambda value: type(value) is int and 0 <= value <= MAX_RECORD,
    "last_stdout": _or_none(_text(200)),
}


def _is_float(value: str) -> bool:
    """Whether a text is what Python prints of a float: `1e+999` is none, and would be no number to compare with."""
    return re.fullmatch(r"-?(?:[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?|inf)|nan", value) is not None and (
        repr(float(value)) == value
    )


_VALUE: dict[str, Any] = {
    "int": lambda value: re.fullmatch(r"0|-?[1-9][0-9]*", value) is not None,
    "float": _is_float,
    "bool": lambda value: value in ("True", "False"),
    "none": lambda value: value == "None",
    "str": lambda value: True,
    "other": lambda value: True,
}

_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")


def _clean(text: str) -> str:
    """Text that can be written as UTF-8 and is the same in every run: no lone surrogates, no memory addresses."""
    return _ADDRESS.sub("0x...", text.encode("utf-8", "replace").decode())
