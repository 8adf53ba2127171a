"""Matching: the table of returned values under both rules, string tasks, and counters that add up."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.errors import UserError
from distillery.programs.execution import ACCEPTED, Execution, RunOutcome
from distillery.programs.feedback import needs_refinement
from distillery.programs.matching import count, judge, typed_outcome


def returned(kind, value, lines=1, shown=None):
    outcome = RunOutcome.OK if kind in ACCEPTED else RunOutcome.WRONG_TYPE
    line = (value if shown is None else shown) if lines == 1 else None
    return Execution(outcome, kind=kind, value=value, stdout_lines=lines, last_stdout=line)


TABLE = [
    # kind, value, gold, paper, strict
    ("int", "12", "12", True, True),
    ("float", "12.0", "12", True, True),
    ("float", "12.4", "12", True, False),
    ("float", "12.5", "12", True, False),  # round is half to even
    ("float", "11.5", "12", True, False),
    ("float", "-0.5", "0", True, False),
    ("float", "-0.0", "0", True, True),
    ("str", "12", "12", True, False),
    ("str", "12%", "12", False, False),
    ("bool", "True", "1", False, False),
    ("none", "None", "12", False, False),
    ("float", "nan", "12", False, False),
    ("float", "inf", "12", False, False),
    ("float", "-inf", "12", False, False),
    ("float", "1e+16", "10000000000000000", True, True),
    ("float", "12.000000999", "12", True, True),
    ("float", "12.0000011", "12", True, False),
    ("int", "70003", "70000", False, False),  # a relative tolerance would let it through
    ("float", "12.5", "12.5", False, True),  # int("12.5") raises: nothing is kept under `paper`
    ("float", "12.501", "12.5", False, True),
    ("float", "12.502", "12.5", False, False),
    ("int", "57500", "57,500", True, True),
    ("int", "-3", "-3", True, True),
]


@pytest.mark.parametrize(("kind", "value", "gold", "paper", "strict"), TABLE)
def test_numbers_under_both_rules(kind, value, gold, paper, strict):
    assert judge(returned(kind, value), gold, "number") == {"paper": paper, "strict": strict}


@pytest.mark.parametrize("shown", ["[12]", "(12,)", "3j", "<generator object solution at 0x...>"])
def test_other_objects_are_right_by_no_rule(shown):
    run = returned("other", "<class 'list'>", shown=shown)
    assert judge(run, "12", "number") == {"paper": False, "strict": False}
    assert typed_outcome(run, "number") == RunOutcome.WRONG_TYPE


def test_an_object_that_prints_as_the_gold_number_is_right_under_paper_only():
    fraction = returned("other", "<class 'fractions.Fraction'>", shown="12")
    assert judge(fraction, "12", "number") == {"paper": True, "strict": False}


def test_extra_lines_make_a_program_wrong_under_paper_only():
    assert judge(returned("int", "12", lines=2), "12", "number") == {"paper": False, "strict": True}


@pytest.mark.parametrize("outcome", [one for one in RunOutcome if one not in (RunOutcome.OK, RunOutcome.WRONG_TYPE)])
def test_a_run_without_a_value_is_right_by_no_rule(outcome):
    run = Execution(outcome, stdout_lines=1, last_stdout="12")
    assert judge(run, "12", "number") == judge(run, "12", "text") == {"paper": False, "strict": False}


@pytest.mark.parametrize(
    ("answer_type", "run", "gold", "paper", "strict"),
    [
        ("yes-no", returned("str", "yes"), "yes", True, True),
        ("yes-no", returned("str", "Yes"), "yes", False, True),
        ("yes-no", returned("bool", "True"), "yes", False, False),
        ("letters", returned("str", "yajo"), "yajo", True, True),
        ("letters", returned("str", "ajo"), "yajo", False, False),
        ("letters", returned("str", "", shown=""), "yajo", False, False),
        ("choice", returned("str", "B"), "B", True, True),
        ("choice", returned("str", "C"), "B", False, False),
        ("text", returned("str", "03/11/2002"), "03/11/2002", True, True),
        ("text", returned("int", "12"), "12", True, False),
        ("yes-no", returned("str", "yes", lines=2), "yes", False, True),
    ],
)
def test_string_tasks_compare_strings(answer_type, run, gold, paper, strict):
    assert judge(run, gold, answer_type) == {"paper": paper, "strict": strict}


@pytest.mark.parametrize("gold", ["twelve", "", "nan", "inf"])
def test_a_gold_answer_that_is_no_number_is_a_fault_of_the_data(gold):
    with pytest.raises(UserError, match="no number"):
        judge(returned("int", "12"), gold, "number")


@given(st.integers(-(10**9), 10**9))
def test_equal_integers_are_right_and_neighbours_are_not(number):
    assert judge(returned("int", str(number)), str(number), "number") == {"paper": True, "strict": True}
    assert judge(returned("int", str(number + 1)), str(number), "number") == {"paper": False, "strict": False}


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**6), 10**6))
def test_strict_never_keeps_what_is_further_off_than_its_tolerance(value, gold):
    verdict = judge(returned("float", repr(value)), str(gold), "number")
    assert (
        verdict["strict"] == math.isclose(value, gold, rel_tol=0, abs_tol=1e-6) or abs(abs(value - gold) - 1e-6) < 1e-9
    )


def test_counters_add_up():
    rows = [
        ("refused", None, False),
        ("no_program", None, False),
        ("two_solutions", None, False),
        (None, Execution(RunOutcome.SYNTAX), False),
        (None, Execution(RunOutcome.REJECTED, "import"), False),
        (None, Execution(RunOutcome.EXCEPTION, "NameError"), False),
        (None, Execution(RunOutcome.TIMEOUT_CPU), False),
        (None, Execution(RunOutcome.SANDBOX_ERROR), False),
        (None, returned("bool", "True"), False),
        (None, returned("int", "5"), False),
        (None, returned("int", "12"), True),
    ]
    counts = count(rows)
    stages = (counts.refused, counts.unparsable, counts.rejected, counts.failed, counts.wrong, counts.kept)
    assert stages == (1, 3, 1, 3, 2, 1)
    assert counts.asked == sum(stages) == len(rows)
    assert counts.sandbox_faults == 1


@pytest.mark.parametrize(
    ("run", "answer_type", "feedback"),
    [
        (returned("int", "12"), "number", None),
        (returned("int", "13"), "number", None),
        (returned("str", "yes"), "yes-no", None),
        (Execution(RunOutcome.SANDBOX_ERROR), "number", None),
        (Execution(RunOutcome.EXCEPTION, "NameError", traceback_line="NameError: x"), "number", "NameError: x"),
        (
            Execution(RunOutcome.SYNTAX, traceback_line="SyntaxError: invalid syntax"),
            "number",
            "SyntaxError: invalid syntax",
        ),
        (Execution(RunOutcome.TIMEOUT_WALL), "number", "TimeoutError: the program did not end"),
        (returned("none", "None"), "number", "TypeError: solution() returned None, not a number"),
        (returned("str", "12"), "number", "TypeError: solution() returned a string, not a number"),
        (returned("float", "nan"), "number", "ValueError: solution() returned nan, not a number"),
        (returned("bool", "True"), "yes-no", "TypeError: solution() returned True, not a string"),
        (returned("int", "1"), "letters", "TypeError: solution() returned an integer, not a string"),
    ],
)
def test_feedback_says_what_a_user_would_see(run, answer_type, feedback):
    assert needs_refinement(run, answer_type) == feedback


def test_every_visible_failure_has_feedback_of_one_line():
    for outcome in set(RunOutcome) - {RunOutcome.OK, RunOutcome.SANDBOX_ERROR}:
        said = needs_refinement(Execution(outcome, "import"), "number")
        assert said and "\n" not in said
