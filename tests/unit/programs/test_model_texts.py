"""No text of a model raises in this process: extraction, printing, injection, records and matching are total."""

import json
import os
import random
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distillery.programs.execution import execution_of
from distillery.programs.extract import extract, normalise, without_docstring
from distillery.programs.feedback import needs_refinement
from distillery.programs.injection import ERROR_CLASSES, inject, printed
from distillery.programs.matching import judge
from distillery.programs.step_scorers.execution import so_far
from distillery.programs.step_search import has_returned
from distillery.programs.syntax import Unparsable, completeness

FUZZ = settings(max_examples=10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 300, deadline=None)

NO_BREAK, SOFT_HYPHEN, LINE_SEPARATOR = "\u00a0", "\u00ad", "\u2028"
HARD = {
    "an f-string that Python cannot print": f"def solution():\n    return f'{{\"{NO_BREAK}\"}}'\n",
    "another": f'def solution():\n    return f\'{{"a{SOFT_HYPHEN}b" + "{LINE_SEPARATOR}"}}\'\n',
    "an integer of more digits than Python prints": f"def solution():\n    return 0x{'f' * 4400}\n",
    "a negative one": f"def solution():\n    return -0x{'f' * 7000}\n",
    "deep brackets": "def solution():\n    return " + "(" * 60 + "1" + ")" * 60,
    "a form feed": "def solution():\n    a = 1\x0c\n    return a\n",
    "line ends of all kinds": "def solution():\r\n    a = 1\r    return a\x0b\x85\u2029",
}


@pytest.mark.reliability("model-text")
@pytest.mark.parametrize("text", HARD.values(), ids=HARD)
def test_a_program_that_python_cannot_print_is_still_a_program(text):
    program = extract(text).program
    assert program is not None and "def solution" in program
    assert normalise(program) == normalise(program + "\n")
    for error_class in ERROR_CLASSES:
        for injection in ("paper", "repaired"):
            made = inject(program, error_class, random.Random(1), injection)
            assert made is None or isinstance(made, str)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 and later print every f-string")
def test_what_cannot_be_printed_is_said_to_be_unparsable():
    with pytest.raises(Unparsable, match="print"):
        printed(HARD["an f-string that Python cannot print"])


PIECES = st.one_of(
    st.sampled_from(["def solution():\n", "    return ", "```python\n", "```\n", "~~~~", "~", "`", "\n", "    ", "\t"]),
    st.sampled_from(["f'{", "}'", '"""', "0x", "9" * 50, "1e", "lambda ", "match x:\n", "case ", "#", "\\", "(", ")"]),
    st.sampled_from([NO_BREAK, SOFT_HYPHEN, LINE_SEPARATOR, "\ud800", "\0", "\x0c", "\x85", "\ufeff", "\u202e"]),
)
TEXTS = st.one_of(st.lists(PIECES, max_size=80).map("".join), st.text(max_size=400))


@pytest.mark.reliability("model-text", cases=FUZZ.max_examples)
@FUZZ
@given(TEXTS)
@example(HARD["an f-string that Python cannot print"])
@example(HARD["an integer of more digits than Python prints"])
def test_any_text_is_extracted_printed_and_changed_without_an_exception(text):
    found = extract(text)
    assert (found.program is None) != (found.problem is None)
    for program in filter(None, [text, found.program]):
        assert isinstance(normalise(program), str)
        assert isinstance(without_docstring(program), str)
        assert completeness(program) in ("complete", "incomplete", "wrong")
        assert has_returned(program) in (True, False)
        for finished in (True, False):
            assert so_far(program, finished=finished) is None or isinstance(program, str)
        made = inject(program, "syntax_error", random.Random(1))
        assert made is None or isinstance(made, str)


def record(**fields):
    blank = {"status": "value", "kind": "int", "value": "5", "error": None, "message": "", "stdout_lines": 1}
    data = json.dumps({**blank, "last_stdout": "5", **fields}).encode()
    return len(data).to_bytes(4, "big") + data


NUMBERS = st.one_of(
    st.from_regex(r"-?[0-9]{1,40}(\.[0-9]{1,40})?(e[+-]?[0-9]{1,20})?", fullmatch=True),
    st.sampled_from(
        ["nan", "inf", "-inf", "1e+999999999999", "1e-999999999", "0x5", "٣", "1_0", "", "-", "5.0", "12.5"]
    ),
    st.text(max_size=30),
)


@pytest.mark.reliability("model-text", cases=FUZZ.max_examples)
@FUZZ
@given(
    st.sampled_from(["int", "float", "str", "bool", "none", "other"]), NUMBERS, NUMBERS, st.sampled_from(["5", "12.5"])
)
@example("float", "1e+999999999999999999", "1", "5")
def test_any_record_of_a_run_is_judged_without_an_exception(kind, value, line, gold):
    data = record(kind=kind, value=value, last_stdout=line)
    run = execution_of(data, signal_number=0, exit_code=0, over=False, seconds=0.1)
    for answer_type in ("number", "text"):
        verdict = judge(run, gold, answer_type)
        assert set(verdict) == {"paper", "strict"} and all(type(right) is bool for right in verdict.values())
        feedback = needs_refinement(run, answer_type)
        assert feedback is None or isinstance(feedback, str)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("float", "1e+999"),
        ("float", "5"),
        ("float", "05.0"),
        ("float", "1e+05"),
        ("int", "05"),
        ("int", "-0"),
        ("int", "+5"),
    ],
)
def test_a_value_that_python_would_not_print_so_is_no_record(kind, value):
    run = execution_of(record(kind=kind, value=value), signal_number=0, exit_code=0, over=False, seconds=0.1)
    assert run.label == "killed:no record"


@pytest.mark.parametrize(("kind", "value"), [("float", repr(number)) for number in (0.1, 1e22, -2.5e-7, 1e308, 5.0)])
def test_what_python_prints_of_a_float_is_read(kind, value):
    run = execution_of(record(kind=kind, value=value), signal_number=0, exit_code=0, over=False, seconds=0.1)
    assert (run.label, run.value) == ("ok", value)


def test_tens_of_thousands_of_fences_and_a_line_of_tildes_are_read_in_one_pass():
    """The work is counted, not timed: each line is looked at a fixed number of times."""
    from distillery.programs import extract as module

    looked_at = 0
    honest = module._fence

    def counted(line):
        nonlocal looked_at
        looked_at += 1
        return honest(line)

    module._fence = counted
    try:
        for text in ("~~~\n```\n" * 8000, "~" * 65_000 + "`", "```\n" * 16_000, "```python\ndef solution():\n" * 2000):
            looked_at = 0
            extract(text)
            assert looked_at <= 2 * (text.count("\n") + 1)
    finally:
        module._fence = honest
