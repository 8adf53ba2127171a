"""Values that a question about a number cannot have go back to the student, and all numbers stand."""

import pytest

from distillery.programs.execution import Execution, RunOutcome
from distillery.programs.feedback import needs_refinement


@pytest.mark.parametrize(
    ("kind", "value", "feedback"),
    [
        ("float", "nan", "ValueError: solution() returned nan, not a number"),
        ("float", "inf", "ValueError: solution() returned inf, not a number"),
        ("float", "-inf", "ValueError: solution() returned -inf, not a number"),
        ("float", "2.5", None),
        ("int", "-3", None),
    ],
)
def test_a_value_that_is_no_number_is_sent_back(kind, value, feedback):
    assert needs_refinement(Execution(RunOutcome.OK, kind=kind, value=value), "number") == feedback
