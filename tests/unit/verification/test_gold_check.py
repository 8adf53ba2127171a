"""Gold answers against their own graders: which are refused, in which words; and what guessing would give."""

import pytest

from distillery.config.task import Task
from distillery.errors import UserError
from distillery.records import Question
from distillery.verification.gold_check import check_gold, random_guess


def task(answer: str, **changes) -> Task:
    source = {"kind": "generator", "generator": "arithmetic"}
    return Task.model_validate({"task": "made", "title": "Made", "answer": answer, "source": source, **changes})


def question(qid: str, gold: str, text: str = "?", rationale: str | None = None) -> Question:
    return Question(qid=qid, task="made", question=text, gold=gold, rationale=rationale)


def test_each_gold_answer_that_its_grader_does_not_read_back_is_named_with_its_remedy():
    questions = [
        question("q1", "5"),
        question("q2", "5 apples"),
        question("q3", "five"),
        question("q4", "6", rationale="It is 5. --> 5"),
    ]
    exemplars = [{"rationale": "So", "gold": "7"}, {"rationale": "So --> 8", "gold": "9"}]
    with pytest.raises(UserError) as caught:
        check_gold(task("number"), questions, exemplars)
    faults = caught.value.errors
    assert [(fault.key, fault.value, fault.problem) for fault in faults] == [
        ("gold", "5 apples", "the gold answer of q2 does not pass its own grader: `paper` reads '5'"),
        ("gold", "5 apples", "the gold answer of q2 does not pass its own grader: `robust` cannot use it "
         "(could not convert string to float: '5 apples')"),
        ("gold", "five", "the gold answer of q3 does not pass its own grader: `paper` reads None"),
        ("gold", "five", "the gold answer of q3 does not pass its own grader: `robust` cannot use it "
         "(could not convert string to float: 'five')"),
        ("gold", "6", "the gold answer of q4 does not pass its own grader: `paper` reads '5'"),
        ("gold", "6", "the gold answer of q4 does not pass its own grader: `robust` reads '5'"),
        ("exemplars", "9", "the gold answer of exemplar 1 does not pass its own grader: `paper` reads '8'"),
        ("exemplars", "9", "the gold answer of exemplar 1 does not pass its own grader: `robust` reads '8'"),
    ]  # fmt: skip
    assert {str(fault.file) for fault in faults} == {"config/tasks/made.yaml"}
    assert faults[0].remedy == "Correct the gold template, the answer type, or graders.paper"
    assert faults[1].remedy == "Correct the gold template, the answer type, or graders.robust"


def test_gold_answers_that_their_graders_read_back_pass():
    first_word = {"candidates": "letters", "standalone": True, "delimiter": "none"}
    check_gold(task("letters", graders={"paper": first_word, "robust": first_word}), [question("q1", "nk")], [])
    check_gold(task("number"), [question("q1", "1,200", rationale="2 + 3")], [{"rationale": "", "gold": "-3"}])


@pytest.mark.parametrize(
    ("texts", "letters", "share"),
    [
        (["Which? (A) one (B) two", "Which? (A) one (B) two (C) three (D) four"], "A-E", 1 / 3),
        (["Which?\nA. one\nB. two\nC. (A) again"], "A-E", 1 / 3),
        (["Which of them?"], "A-E", 1 / 5),
        (["Which of them?"], "B-D", 1 / 3),
        ([], "A-D", 1 / 4),
    ],
)
def test_guessing_a_choice_is_right_once_in_the_mean_number_of_options(texts, letters, share):
    robust = {"candidates": "choice", "letters": letters, "standalone": True}
    chosen = task("choice", graders={"robust": robust})
    assert random_guess(chosen, [question(f"q{n}", "A", text) for n, text in enumerate(texts)]) == share
