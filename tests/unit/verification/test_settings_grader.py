"""Each field of `Grader` changes verdicts on texts made for it; expected verdicts are set by hand."""

import pytest

from distillery.config.task import Grader
from distillery.records import Outcome
from distillery.verification.graders import grade

R, W, U, T = Outcome.RIGHT, Outcome.WRONG, Outcome.UNPARSABLE, Outcome.TRUNCATED
NUMBER = {"candidates": "number"}

CASES = {
    # field -> (settings, value, text, finish reason, gold, verdict without the value, verdict with it)
    "candidates": [
        ({}, "choice", "--> 5 (B)", "stop", "B", W, R),
        ({}, "text", "--> 5 (B)", "stop", "5 (B)", W, R),
        ({}, "yes-no", "--> 5: yes", "stop", "yes", W, R),
        ({}, "letters", "--> a.b", "stop", "ab", U, R),
    ],
    "letters": [({"candidates": "choice"}, "A-C", "--> E or B", "stop", "B", W, R)],
    "standalone": [
        (NUMBER, True, "--> v2 is 7", "stop", "7", W, R),
        ({"candidates": "text"}, True, "--> yes\nno", "stop", "yes", W, R),
    ],
    "delimiter": [(NUMBER, "none", "4 --> 5", "stop", "4", W, R)],
    "choose": [(NUMBER, "last", "--> 4 or 5", "stop", "5", W, R)],
    "without_delimiter": [(NUMBER, "unparsable", "so 5", "stop", "5", R, U)],
    "compare": [
        (NUMBER, "number", "--> 5.0", "stop", "5", W, R),
        (NUMBER, "number", "--> 5.0000005", "stop", "5", W, R),
        (NUMBER, "number", "--> 5.000002", "stop", "5", W, W),
        ({"candidates": "letters"}, "casefold", "--> Ab", "stop", "aB", W, R),
    ],
    "gold": [
        (NUMBER, "number-in-text", "--> 5", "stop", "3 and 5", W, R),
        ({"candidates": "choice"}, "first-character", "--> B", "stop", " B) five", W, R),
    ],
    "complete": [
        (NUMBER, True, "--> 5", "length", "5", R, T),
        (NUMBER, True, "--> 5", "stop", "5", R, R),
    ],
}


def test_every_field_has_a_case():
    assert set(CASES) == set(Grader.model_fields)


@pytest.mark.parametrize(
    ("field", "case"),
    [
        pytest.param(name, case, id=f"{name}-{case[1]}-{case[2]}".replace("\n", " "))
        for name, cases in CASES.items()
        for case in cases
    ],
)
def test_a_field_changes_what_it_says(field, case):
    settings, value, text, finish, gold, without, changed = case
    base = {**NUMBER, **settings}
    graders = [Grader.model_validate(how) for how in (base, {**base, field: value})]
    assert [grade(text, None, finish, gold, grader, "-->").outcome for grader in graders] == [without, changed]
