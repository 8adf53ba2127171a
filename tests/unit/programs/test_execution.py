"""Records of runs: only what fits the schema gets through, and every way to end has its outcome."""

import json
import os
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.programs.execution import ACCEPTED, MAX_RECORD, Execution, RunOutcome, execution_of, parse_record

FUZZ = settings(max_examples=10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 500, deadline=None)
GOOD = {
    "status": "value",
    "kind": "int",
    "value": "12",
    "error": None,
    "message": "",
    "stdout_lines": 1,
    "last_stdout": "12",
}


def framed(record):
    data = record if isinstance(record, bytes) else json.dumps(record).encode()
    return len(data).to_bytes(4, "big") + data


def outcome(data=b"", signal_number=0, exit_code=0, over=False):
    return execution_of(data, signal_number=signal_number, exit_code=exit_code, over=over, seconds=0.1).label


def test_a_record_comes_back_as_it_was_sent():
    assert parse_record(framed(GOOD)) == GOOD


@pytest.mark.parametrize(
    "change",
    [
        {"status": "ok"},
        {"kind": "decimal"},
        {"kind": None},
        {"value": None},
        {"value": 12},
        {"value": "1" * 201},
        {"value": "1e5"},
        {"value": "12; import os"},
        {"value": "\u0661\u0662"},
        {"kind": "float", "value": "12"} | {"value": "infinity"},
        {"kind": "bool", "value": "yes"},
        {"error": "Name Error"},
        {"error": 5},
        {"message": "m" * 501},
        {"message": None},
        {"stdout_lines": True},
        {"stdout_lines": -1},
        {"stdout_lines": 2},
        {"last_stdout": None},
        {"last_stdout": "x" * 201},
        {"more": 1},
    ],
)
def test_a_record_beside_the_schema_is_none(change):
    assert parse_record(framed({**GOOD, **change})) is None


def test_bytes_that_are_no_single_record_are_none():
    good = framed(GOOD)
    texts = [
        b"",
        b"\0\0\0",
        good[:-1],
        good + b"x",
        good + good,
        framed(b"[" * 50_000),
        framed(b"1" * 9000),
        framed(b"\xff"),
        framed([]),
    ]
    assert [parse_record(data) for data in [*texts, framed(b" " * MAX_RECORD)]] == [None] * (len(texts) + 1)


def test_text_from_a_run_can_be_written_and_holds_no_memory_address():
    record = {
        **GOOD,
        "status": "error",
        "kind": None,
        "value": None,
        "error": "E",
        "message": "\ud800 at 0x7f00deadbeef",
    }
    assert parse_record(framed(record))["message"] == "? at 0x..."


@pytest.mark.parametrize("kind", ["int", "float", "str", "bool", "none", "other"])
def test_kinds_that_no_task_accepts_are_wrong_types(kind):
    value = {"int": "-3", "float": "1e+16", "bool": "True", "none": "None"}.get(kind, "x")
    assert outcome(framed({**GOOD, "kind": kind, "value": value})) == ("ok" if kind in ACCEPTED else "wrong_type")


def test_every_way_to_end_has_its_outcome():
    empty = {**GOOD, "kind": None, "value": None, "stdout_lines": 0, "last_stdout": None}
    assert outcome() == "killed:no record"  # exit code 0 and silence is no success
    assert outcome(framed(GOOD), exit_code=1) == "killed:no record"
    assert outcome(framed(GOOD), signal_number=signal.SIGSEGV) == "killed:SIGSEGV"
    assert outcome(signal_number=signal.SIGXCPU) == "timeout_cpu"
    assert outcome(signal_number=signal.SIGKILL) == "killed:SIGKILL"
    assert outcome(signal_number=signal.SIGKILL, over=True) == "output_limit"
    assert outcome(signal_number=99) == "killed:signal 99"
    assert outcome(framed({**empty, "status": "memory", "error": "MemoryError"})) == "memory"
    assert outcome(framed({**empty, "status": "output_limit"})) == "output_limit"
    assert outcome(framed({**empty, "status": "syntax", "error": "SyntaxError"})) == "syntax"
    assert outcome(framed({**empty, "status": "error", "error": "KeyError", "message": "'a'"})) == "exception:KeyError"


def test_the_last_line_of_the_traceback_is_one_line():
    record = {**GOOD, "status": "error", "kind": None, "value": None, "error": "ValueError", "message": "two\nlines"}
    run = execution_of(framed(record), signal_number=0, exit_code=0, over=False, seconds=0)
    assert run.traceback_line == "ValueError: two lines"
    assert (run.outcome, run.timed_out) == (RunOutcome.EXCEPTION, False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@FUZZ
@given(
    st.one_of(
        st.binary(max_size=300),
        st.fixed_dictionaries({key: JSON | st.just(value) for key, value in GOOD.items()}).map(framed),
    )
)
def test_any_bytes_give_an_execution_that_can_be_written(data):
    run = execution_of(data, signal_number=0, exit_code=0, over=False, seconds=0)
    assert isinstance(run, Execution) and run.outcome in RunOutcome
    for text in (run.value, run.message, run.last_stdout, run.traceback_line, run.label):
        (text or "").encode()
    assert len(run.value or "") <= 200 and len(run.message) <= 500
