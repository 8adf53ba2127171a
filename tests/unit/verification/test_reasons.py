"""How a verdict was reached: outcome, answer and reason of each way through a text and through a program."""

import pytest

from distillery.config.task import Grader
from distillery.records import Completion, Outcome, Question
from distillery.verification.graders import DEFAULT_GRADERS, gold_answer, grade
from distillery.verification.judge import Reading, judge
from distillery.verification.verify import verify, yield_of

R, W, T, U = Outcome.RIGHT, Outcome.WRONG, Outcome.TRUNCATED, Outcome.UNPARSABLE
LOOSE, STRICT = DEFAULT_GRADERS["number"]["paper"], DEFAULT_GRADERS["number"]["robust"]
LAST = Grader(candidates="number", choose="last")
WHOLE = Grader(candidates="number", delimiter="none")
NEEDS_DELIMITER = Grader(candidates="number", without_delimiter="unparsable")


@pytest.mark.parametrize(
    ("text", "answer_text", "finish", "grader", "delimiter", "judgement"),
    [
        ("3 --> 7 or 8", None, "stop", LOOSE, "-->", (R, "7", "first number after the delimiter")),
        ("7 --> 3 or 7", None, "stop", LAST, "-->", (R, "7", "last number after the delimiter")),
        ("7 --> 3", None, "stop", WHOLE, "-->", (R, "7", "first number in the whole text")),
        ("7 or 3", None, "stop", LOOSE, None, (R, "7", "first number in the whole text")),
        ("7 or 3", None, "stop", LOOSE, "", (R, "7", "first number in the whole text")),
        ("3 --> 4", "7 or 8", "stop", LOOSE, "-->", (R, "7", "first number in the answer call")),
        ("3", "7", "length", STRICT, "-->", (R, "7", "first number in the answer call")),
        ("3 or 7", None, "stop", LOOSE, "-->",
         (R, "7", "last number in the whole text, as the delimiter is missing")),
        ("3 or 7", None, "stop", NEEDS_DELIMITER, "-->", (U, None, "the delimiter is missing")),
        ("3 or 7", None, "length", NEEDS_DELIMITER, "-->", (T, None, "cut off at the token limit")),
        ("--> 7", None, "length", STRICT, "-->", (T, None, "cut off at the token limit")),
        ("--> 7", None, "length", LOOSE, "-->", (R, "7", "first number after the delimiter")),
        ("--> none", None, "length", LOOSE, "-->", (T, None, "no number after the delimiter")),
        ("--> none", None, "stop", LOOSE, "-->", (U, None, "no number after the delimiter")),
        ("--> 7", None, "refused", LOOSE, "-->", (Outcome.REFUSED, None, "the model refused")),
        ("--> 7", None, "failed", LOOSE, "-->", (Outcome.FAILED, None, "the request failed")),
        ("--> 8", None, "stop", LOOSE, "-->", (W, "8", "first number after the delimiter")),
    ],
)  # fmt: skip
def test_each_way_through_a_text_has_its_outcome_and_reason(text, answer_text, finish, grader, delimiter, judgement):
    assert grade(text, answer_text, finish, "7", grader, delimiter) == judgement


@pytest.mark.parametrize(
    ("gold", "settings", "compared"),
    [
        ("1,200 ", {"candidates": "number"}, "1200"),
        (" B) five", {"candidates": "choice", "gold": "first-character"}, "B"),
        ("4 and 5 make 9", {"candidates": "number", "gold": "number-in-text"}, "9"),
        ("nk", {"candidates": "letters"}, "nk"),
    ],
)
def test_gold_is_compared_in_the_form_of_an_answer(gold, settings, compared):
    assert gold_answer(gold, Grader(**settings)) == compared


@pytest.mark.parametrize(
    ("gold", "settings", "fault"),
    [
        ("five", {"candidates": "number", "gold": "number-in-text"}, "no number in it"),
        ("", {"candidates": "text"}, "it is empty"),
        ("five", {"candidates": "number", "compare": "number"}, "could not convert string to float: 'five'"),
    ],
)
def test_gold_that_is_no_answer_is_a_fault(gold, settings, fault):
    with pytest.raises(ValueError) as caught:
        gold_answer(gold, Grader(**settings))
    assert str(caught.value) == fault


@pytest.mark.parametrize(
    ("kind", "settings", "text", "answer"),
    [
        ("text", {"standalone": True}, "\n \"New   York.'\nSo it is.", "New York"),
        ("text", {"standalone": True}, "\"New York.\"", "New York"),
        ("text", {"standalone": True}, "'St. Louis'...", "St. Louis'"),
        ("text", {"standalone": True}, "\"'.", None),
        ("text", {}, " a\n b. ", "a\n b."),
        ("text", {}, " \n ", None),
        ("letters", {}, "'n k.'", "nk"),
        ("letters", {}, " . ", None),
        ("yes-no", {}, "is\n\"YES\", no", "yes"),
        ("yes-no", {}, "no-one", None),
        ("choice", {"letters": "B-D"}, "A cab: DB", "D"),
        ("choice", {"standalone": True}, "A ball, I'd say DB or C", "C"),
        ("number", {}, "1,2x-3.5", "12"),
    ],
)  # fmt: skip
def test_each_kind_of_answer_is_read_from_a_text(kind, settings, text, answer):
    assert grade(text, None, "stop", "1", Grader(candidates=kind, **settings), None).answer == answer


def program(body: str, index: int = 0, finish: str = "stop") -> Completion:
    return Completion(
        completion_id=f"c{index}", qid="q", sampler="s", sample_index=index, text=body, finish_reason=finish,
        prompt_tokens=1, completion_tokens=1,
    )  # fmt: skip


PROGRAMS = [
    ("def solution():\n    return 5", "stop", R, R, "5", "returned int"),
    ("def solution():\n    return 5.25", "stop", R, W, "5.25", "returned float"),
    ("def solution():\n    return 99", "failed", Outcome.FAILED, Outcome.FAILED, None, "sampling failed"),
    ("", "failed", Outcome.FAILED, Outcome.FAILED, None, "sampling failed"),
    ("def solution():\n    return None", "length", W, W, "None", "wrong_type"),
    ("def solution():\n    return x", "stop", Outcome.RAISED, Outcome.RAISED, None,
     "NameError: name 'x' is not defined"),
    ("import socket\ndef solution():\n    return 5", "stop", Outcome.REJECTED, Outcome.REJECTED, None,
     "rejected:import"),
    ("def solution():\n    return (5", "stop", U, U, None, "SyntaxError: '(' was never closed"),
    ("def solution():\n    return (5", "length", T, T, None, "SyntaxError: '(' was never closed"),
    ("There are five.", "stop", U, U, None, "no_program"),
    ("There are five.", "length", T, T, None, "no_program"),
    ("As an AI language model, I cannot help.", "length", Outcome.REFUSED, Outcome.REFUSED, None, "refused"),
    ("def solution():\n    return 6", "stop", W, W, "6", "returned int"),
]  # fmt: skip


def test_each_way_through_a_program_has_its_outcome_and_reason_under_both_rules():
    written = [program(body, index, finish) for index, (body, finish, *_) in enumerate(PROGRAMS)]
    judged = judge(written, {"q": "5"}, {}, Reading(form="program"))
    found = [(given["paper"][0], given["robust"][0], *given["robust"][1:]) for given in judged.verdicts]
    assert found == [tuple(expected) for _, _, *expected in PROGRAMS]
    assert [given["paper"][1:] for given in judged.verdicts] == [given["robust"][1:] for given in judged.verdicts]
    assert [list(given) for given in judged.verdicts] == [["paper", "robust"]] * len(PROGRAMS)


def test_programs_have_a_yield_of_both_rules_whatever_graders_the_task_declares():
    verdicts, yields, work = verify(
        [program("def solution():\n    return 5.25")],
        [Question(qid="q", task="t", question="?", gold="5")],
        {"mine": LOOSE},
        Reading(form="program"),
    )
    assert {name: found["outcomes"]["right"] for name, found in yields.items()} == {"paper": 1, "robust": 0}
    (paper, robust) = verdicts
    assert paper.model_dump() == {
        "completion_id": "c0", "qid": "q", "sample_index": 0, "grader": "paper", "outcome": R, "answer": "5.25",
        "reason": "returned float",
    }  # fmt: skip
    assert (robust.grader, robust.outcome, work["programs"]) == ("robust", W, 1)


def test_the_yield_of_nothing_is_complete():
    assert yield_of([]) == {
        "asked": 0, "outcomes": dict.fromkeys(Outcome, 0), "questions": 0, "questions_covered": [],
        "right_per_question": {}, "share_of_rationales": None, "share_of_questions": None,
    }  # fmt: skip
