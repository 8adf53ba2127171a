"""Grading: the hard cases of both papers, under the papers' rule and under the robust one."""

import pytest
from pydantic import ValidationError

from distillery.config.task import Grader, Task
from distillery.records import Outcome
from distillery.registry import REGISTRY
from distillery.verification.graders import DEFAULT_GRADERS, grade, graders_of

R, W, U, T = Outcome.RIGHT, Outcome.WRONG, Outcome.UNPARSABLE, Outcome.TRUNCATED

HARD_CASES = [
    # answer type, completion, gold, paper, robust
    ("number", "--> 5.0", "5", W, R),
    ("number", "--> 18.00", "18", W, R),
    ("number", "--> 1,200", "1200", R, R),
    ("number", "--> 1200", "1,200", R, R),
    ("number", "--> $1,200", "1200", R, R),
    ("number", "--> -3", "-3", R, R),
    ("number", "--> \u22123", "-3", W, R),
    ("number", "--> 10-3", "10", R, R),
    ("number", "--> -$3.50", "-3.5", W, R),
    ("number", "--> 5, 6", "5", R, R),
    ("number", "--> 5,6", "5", W, R),  # the paper drops every comma and reads 56
    ("number", "--> version v2 gives 7", "7", W, R),
    ("number", "--> 0.5", ".5", W, R),
    ("number", "3 + 2 = 5", "5", R, U),  # no delimiter
    ("number", "--> 5 and so --> 6", "5", R, R),  # two delimiters: the first counts
    ("number", "It is 7 --> five", "7", U, U),
    ("number", "", "5", U, U),
    ("choice", "--> (B)", "B", R, R),
    ("choice", "--> Because (C)", "C", W, R),
    ("choice", "--> A ball, so C", "C", W, R),
    ("choice", "--> A is right", "A", R, R),
    ("choice", "--> B.", "B", R, R),
    ("choice", "--> b", "B", U, U),
    ("choice", "It is (C)", "C", R, U),
    ("choice", "", "C", U, U),
    ("yes-no", "--> Yes.", "yes", R, R),
    ("yes-no", "--> Yes.", "Yes", R, R),
    ("yes-no", "--> no!", "no", U, R),
    ("yes-no", "--> There is nothing: no", "no", R, R),
    ("yes-no", "--> Not known", "no", U, U),
    ("letters", "--> yajo", "yajo", R, R),
    ("letters", '--> "yajo".', "yajo", R, R),
    ("letters", "--> Yajo", "yajo", W, R),
    ("letters", "--> The answer is yajo.", "yajo", W, R),
    ("letters", "--> y a j o", "yajo", R, W),
    ("letters", "--> ", "yajo", U, U),
    ("text", "--> New York.\nSo it is.", "New York", W, R),
]


@pytest.mark.parametrize(
    ("kind", "text", "gold", "paper", "robust"),
    HARD_CASES,
    ids=[f"{c[0]}{c[1]}".replace("\u2212", "minus ").replace("\n", " ") for c in HARD_CASES],
)
def test_hard_cases(kind, text, gold, paper, robust):
    found = {name: grade(text, None, "stop", gold, grader, "-->") for name, grader in DEFAULT_GRADERS[kind].items()}
    assert {name: graded.outcome for name, graded in found.items()} == {"paper": paper, "robust": robust}
    assert all((graded.answer is None) == (graded.outcome == U) for graded in found.values())


@pytest.mark.parametrize(
    ("finish_reason", "text", "paper", "robust"),
    [
        ("length", "--> 5", R, T),
        ("length", "He has", T, T),
        ("stop", "He has", U, U),
        ("refused", "--> 5", Outcome.REFUSED, Outcome.REFUSED),
        ("failed", "", Outcome.FAILED, Outcome.FAILED),
    ],
)
def test_how_a_completion_ended_decides_between_the_outcomes(finish_reason, text, paper, robust):
    for name, expected in {"paper": paper, "robust": robust}.items():
        assert grade(text, None, finish_reason, "5", DEFAULT_GRADERS["number"][name], "-->").outcome == expected


def test_the_answer_call_alone_is_searched_and_needs_no_delimiter():
    graders = DEFAULT_GRADERS["number"].values()
    assert [grade("7 --> 8", " 5, not 6.", "stop", "5", grader, "-->").outcome for grader in graders] == [R, R]


def test_a_prompt_without_delimiter_is_searched_from_its_start():
    graders = DEFAULT_GRADERS["number"].values()
    assert [grade("5, not 6", None, "stop", "5", grader, None).outcome for grader in graders] == [R, R]


def test_a_missing_delimiter_falls_back_to_the_last_candidate_in_the_papers_rule_only():
    text = "3 + 4 = 7, then 7 * 2 = 14"
    assert grade(text, None, "stop", "14", DEFAULT_GRADERS["number"]["paper"], "-->").answer == "14"
    assert grade(text, None, "stop", "14", DEFAULT_GRADERS["number"]["robust"], "-->").answer is None


def test_case_of_last_letters_counts_in_one_paper_and_not_in_the_other():
    for compare, expected in {"string": W, "casefold": R}.items():
        grader = Grader(candidates="letters", compare=compare)
        assert grade("--> YAJO", None, "stop", "yajo", grader, "-->").outcome == expected


def test_gold_can_be_the_number_in_a_text_or_the_first_character():
    number = Grader(candidates="number", compare="number", gold="number-in-text")
    assert grade("--> 8", None, "stop", "2 * 4 = 8\n#### 8", number, "-->").outcome == R
    letter = Grader(candidates="choice", gold="first-character")
    assert grade("--> A", None, "stop", "A. ignore", letter, "-->").outcome == R


def test_a_gold_answer_that_is_no_number_is_a_fault_of_the_data():
    with pytest.raises(ValueError, match="five"):
        grade("--> 5", None, "stop", "five", DEFAULT_GRADERS["number"]["robust"], "-->")


def test_numbers_beyond_floating_point_are_wrong_and_no_crash():
    assert grade(f"--> {'9' * 400}", None, "stop", "5", DEFAULT_GRADERS["number"]["robust"], "-->").outcome == W


def test_a_grader_that_compares_letters_as_numbers_is_refused():
    with pytest.raises(ValidationError, match="compare: number goes with candidates: number"):
        Grader.model_validate({"candidates": "choice", "compare": "number"}, context=REGISTRY)


def test_a_task_file_replaces_and_adds_graders():
    mine = Grader(candidates="number", compare="number")
    task = Task.model_validate(
        {
            "task": "t",
            "title": "T",
            "answer": "number",
            "source": {"kind": "generator", "generator": "arithmetic"},
            "graders": {"paper": mine, "mine": mine},
        }
    )
    assert graders_of(task) == {"paper": mine, "robust": DEFAULT_GRADERS["number"]["robust"], "mine": mine}
