"""Mentor-KD's public rationales under our graders: counts of the files, published filter, known wrong labels."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from distillery.config.task import Grader
from distillery.records import Completion, Outcome, Question
from distillery.tasks.released.mentor_kd import mentor_kd_completions, mentor_kd_questions
from distillery.verification.graders import DEFAULT_GRADERS, grade

RULES = {
    "tracking_shuffled_objects": Grader(candidates="choice", letters="A-C"),
    "date_understanding": Grader(candidates="choice", letters="A-F"),
    "svamp": Grader(candidates="number", compare="number"),
    "last_letter_concatenation": Grader(candidates="letters", compare="casefold"),
}
ROOT = "replay/mentor-kd"
pytestmark = pytest.mark.golden
Released = Callable[[str], Path]


def questions(released: Released, task: str) -> dict[str, list[Question]]:
    return mentor_kd_questions(
        task, released(f"{ROOT}/skeleton/{task}_train.json"), released(f"{ROOT}/skeleton/{task}_test.json")
    )


def passes(question: Question, completion: Completion, grader: Grader) -> bool:
    graded = grade(completion.text, completion.answer_text, completion.finish_reason, question.gold, grader, "-->")
    return graded.outcome == Outcome.RIGHT


@pytest.mark.parametrize(
    ("task", "train", "test", "rows", "covered"),
    [
        ("tracking_shuffled_objects", 525, 225, 1536, 512),
        ("last_letter_concatenation", 350, 150, 1050, 350),
        ("date_understanding", 258, 111, 768, 256),
        ("svamp", 700, 150, 1953, 651),
    ],
)
def test_the_teacher_set_has_the_published_counts(task, train, test, rows, covered, released):
    splits = questions(released, task)
    completions = mentor_kd_completions(released(f"{ROOT}/main/{task}_3_train.json"), splits["train"], "gpt-3.5")
    assert (len(splits["train"]), len(splits["test"])) == (train, test)
    assert (len(completions), len({completion.qid for completion in completions})) == (rows, covered)
    assert max(completion.sample_index for completion in completions) == 2


@pytest.mark.parametrize(
    ("task", "outputs"),
    [("tracking_shuffled_objects", 3078), ("last_letter_concatenation", 2100), ("date_understanding", 1542)],
)
def test_collected_outputs_join_their_questions(task, outputs, released):
    train = questions(released, task)["train"]
    assert len(mentor_kd_completions(released(f"{ROOT}/prompt/{task}_6.json"), train, "gpt-3.5")) == outputs


@pytest.mark.parametrize(
    ("task", "mentor", "kept", "total", "joint", "newly_covered"),
    [
        ("tracking_shuffled_objects", "flan-t5_large", 1392, 1575, 2928, 4),
        ("tracking_shuffled_objects", "t5_large", 1390, 1575, 2926, 0),
        ("last_letter_concatenation", "flan-t5_large", 1029, 1050, 2079, 0),
        ("last_letter_concatenation", "t5_large", 1010, 1050, 2060, 0),
        ("date_understanding", "flan-t5_large", 763, 774, 1531, 1),
        ("date_understanding", "t5_large", 761, 774, 1529, 1),
        ("svamp", "flan-t5_large", 1558, 2100, 3511, 4),
        ("svamp", "t5_large", 1525, 2100, 3478, 3),
    ],
)
def test_the_published_filter_is_reproduced_row_by_row(task, mentor, kept, total, joint, newly_covered, released):
    path = released(f"{ROOT}/aug/{mentor}/{task}_rand3_aug3.json")
    train = {question.qid: question for question in questions(released, task)["train"]}
    mentored = mentor_kd_completions(path, train.values(), mentor)
    taught = mentor_kd_completions(released(f"{ROOT}/main/{task}_3_train.json"), train.values(), "gpt-3.5")

    judged = [passes(train[completion.qid], completion, RULES[task]) for completion in mentored]
    assert judged == [row["initial_correct"] for row in json.loads(path.read_text(encoding="utf-8"))]
    assert (sum(judged), len(judged), len(taught) + sum(judged)) == (kept, total, joint)
    by_mentor = {completion.qid for completion, good in zip(mentored, judged, strict=True) if good}
    assert len(by_mentor - {completion.qid for completion in taught}) == newly_covered


def test_last_letters_recomputed_from_the_questions_find_the_six_wrong_published_labels(released):
    truth = questions(released, "last_letter_concatenation")
    for question in truth["train"] + truth["test"]:
        words = re.search(r'"(.*)"', question.question)[1].split()
        assert question.gold.casefold() == "".join(word[-1] for word in words).casefold()
    published = json.loads(released(f"{ROOT}/main/last_letter_concatenation_test.json").read_text(encoding="utf-8"))
    assert [row["input"].strip() for row in published] == [question.question.strip() for question in truth["test"]]
    wrong = [n for n, (row, q) in enumerate(zip(published, truth["test"], strict=True)) if row["answer"] != q.gold]
    assert wrong == [58, 87, 116, 123, 126, 147]


def test_gold_letters_with_their_text_are_reduced_to_the_letter(released):
    folder = "datasets/mentor-kd"
    splits = mentor_kd_questions(
        "commonsense_qa",
        released(f"{folder}/commonsense_qa_train.json"),
        released(f"{folder}/commonsense_qa_test.json"),
    )
    grader = DEFAULT_GRADERS["choice"]["paper"].model_copy(update={"gold": "first-character"})
    assert (len(splits["train"]), len(splits["test"])) == (8520, 1221)
    for question in splits["train"] + splits["test"]:
        assert grade(f"--> {question.gold}", None, "stop", question.gold, grader, "-->").outcome == Outcome.RIGHT
