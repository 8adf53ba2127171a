"""The records of the default on its small setting (config/small.yaml), after `.ci/run` has made them.

Questions and rows of gold answers are the same bits on every machine: their digests are compared. What a model writes
or learns differs with hardware: counts must add up from stage to stage, and floors must be reached. On the CPU that
this was written on, the teacher had 38 of 80 rationales right, 58 of 80 programs, and 11 of 30 test questions.

    pytest .ci/test_small_run.py        in the folder of the run
"""

import csv
import hashlib
import json
import math
from collections import Counter
from pathlib import Path

import pytest

RESULTS = Path("results")
STUDENT = "smollm2-135m-26-layers/seed1"
MENTOR = "smollm2-135m/seed1"
TRAIN, TEST = 40, 30

DIGESTS = {
    "questions/arithmetic/train.jsonl": "c7590b5e67618721df81cb547a38e44f13ddb3ff26fd3b67cd5f2646bd1cda5f",
    "questions/arithmetic/dev.jsonl": "4a7164eebd830c06d26b824d377553fe2f2093b920f83ca6d16a9ca6087a665f",
    "questions/arithmetic/test.jsonl": "3ba6027df27db2d3ba3ada4042cac2a810ba4f04a47335857e9192ac59b0918c",
    "questions/arithmetic/exemplars.jsonl": "06463f5c5af02f9c5470329972397865063fd77ab5e11e67f495a152e4c2e1db",
    "questions/arithmetic/checked.json": "084a532aa976f51f148501f72bd4616f276355fa69673820bda9cea49dc53b9b",
    f"rows/arithmetic/miniature/fine-tune/{STUDENT}/rows.jsonl": (
        "d4ea3f89c18e49e18167ed4bce63191d6acc7eef0318652db5453572de81b09b"
    ),
}

ARMS = {
    "zero-shot": MENTOR,
    "zero-shot-cot": MENTOR,
    "few-shot-cot": MENTOR,
    "mentor-sft": MENTOR,
    **dict.fromkeys(("fine-tune", "fine-tune-cot", "fine-tune-cot-diverse", "mentor-kd", "pad", "mapd"), STUDENT),
}
UPDATES = {
    **dict.fromkeys(("fine-tune", "fine-tune-cot", "fine-tune-cot-diverse", "mentor-kd", "mentor-sft", "pad"), 10),
    "mapd": 20,
}
EXAM = f"student-answers/miniature/fine-tune-cot-diverse/{STUDENT}"


def read(path: str) -> dict:
    return json.loads((RESULTS / path).read_text())


def rows(path: str) -> list[dict]:
    return [json.loads(line) for line in (RESULTS / path).read_text().splitlines()]


def outcomes(sampler: str) -> list[dict]:
    """Verdicts of the robust grader on the train split."""
    return [row for row in rows(f"verdicts/arithmetic/train/{sampler}/verdicts.jsonl") if row["grader"] == "robust"]


def right(sampler: str, samples: int = 99) -> int:
    return sum(row["outcome"] == "right" and row["sample_index"] < samples for row in outcomes(sampler))


def composed(recipe: str) -> dict:
    return read(f"rows/arithmetic/miniature/{recipe}/{ARMS[recipe]}/summary.json")


@pytest.mark.parametrize("path", DIGESTS)
def test_what_no_hardware_changes_has_the_same_bytes(path):
    assert hashlib.sha256((RESULTS / path).read_bytes()).hexdigest() == DIGESTS[path]


@pytest.mark.parametrize(
    ("sampler", "completions", "least_right"),
    [
        ("smollm2-few-shot", 2 * TRAIN, 24),
        ("smollm2-few-shot-program", 2 * TRAIN, 40),
        (f"mentor/miniature/mentor-sft/{MENTOR}", 2 * TRAIN, 1),
        (EXAM, TRAIN, 0),
    ],
)
def test_every_completion_has_a_verdict_and_the_teachers_know_something(sampler, completions, least_right):
    assert len(rows(f"completions/arithmetic/train/{sampler}/completions.jsonl")) == completions
    assert len(outcomes(sampler)) == completions
    assert least_right <= right(sampler) < completions


def test_rows_are_the_right_answers_of_their_own_source():
    teacher, programs = right("smollm2-few-shot"), right("smollm2-few-shot-program")
    mentor = right(f"mentor/miniature/mentor-sft/{MENTOR}")
    assert composed("fine-tune")["training_rows"] == TRAIN
    assert composed("fine-tune-cot")["training_rows"] == right("smollm2-few-shot", samples=1) < teacher
    assert composed("fine-tune-cot-diverse")["training_rows"] == teacher
    assert composed("mentor-sft")["training_rows"] == teacher
    kept = {name: part["kept"] for name, part in composed("mentor-kd")["sources"].items()}
    assert kept == {"mentor": mentor, "teacher": teacher}
    pad = composed("pad")["sources"]
    assert pad["program"]["kept"] == programs and 0 < pad["repair"]["kept"] <= math.ceil(0.3 * TRAIN)


def test_mistakes_and_pairs_are_those_of_the_exam():
    wrong = TRAIN - right(EXAM)
    where = f"committees/arithmetic/miniature/miniature/fine-tune-cot-diverse/{STUDENT}"
    mistakes = rows(f"{where}/mistakes.jsonl")
    assert len(mistakes) <= min(24, wrong) and len(mistakes) >= 12
    written = rows(f"{where}/members/smollm2-135m/rationales.jsonl")
    assert Counter(row["sampler"] for row in written) == dict.fromkeys(("brief", "fixed", "similar"), len(mistakes))
    counts = composed("mapd")
    assert counts["mistakes"] == len(mistakes) == counts["pairs"] + sum(counts["dropped"].values())
    checked = {
        row["completion_id"]: row["outcome"] for row in rows(f"{where}/verdicts.jsonl") if row["grader"] == "robust"
    }
    decided = rows(f"rows/arithmetic/miniature/mapd/{STUDENT}/acceptances.jsonl")
    assert all(checked[row["completion_id"]] == "right" for row in decided if row["decision"] == "accepted")


@pytest.mark.parametrize("recipe", UPDATES)
def test_every_training_makes_its_updates_and_its_loss_falls(recipe):
    course = read(f"models/arithmetic/miniature/{recipe}/{ARMS[recipe]}/summary.json")
    assert course["steps"] == UPDATES[recipe]
    losses = [loss for _, loss in course["loss_history"]]
    assert min(losses[len(losses) // 2 :]) < losses[0]


def test_the_table_has_all_arms_and_questions_and_the_teacher_scores():
    with (RESULTS / "tables/miniature/table.csv").open() as file:
        table = {row["recipe"]: row for row in csv.DictReader(file)}
    assert list(table) == ["majority-answer", *ARMS]
    assert {row["questions"] for row in table.values()} == {str(TEST)}
    gold = Counter(row["gold"] for row in rows("questions/arithmetic/test.jsonl"))
    most = Counter(row["gold"] for row in rows("questions/arithmetic/train.jsonl")).most_common()
    constants = {round(100 * gold[answer] / TEST, 1) for answer, count in most if count == most[0][1]}
    assert float(table.pop("majority-answer")["accuracy"]) in constants
    for recipe, row in table.items():
        scores = read(f"scores/arithmetic/test/miniature/{recipe}/{ARMS[recipe]}/scores.json")
        counts = scores["graders"]["robust"]
        assert float(row["accuracy"]) == round(100 * counts["right"] / TEST, 1)
        kinds = ("right", "wrong", "unparsable", "truncated", "refused", "failed", "raised", "rejected")
        assert counts["asked"] == TEST == sum(counts[kind] for kind in kinds)
    assert float(table["few-shot-cot"]["accuracy"]) >= 100 * 4 / TEST
