"""What flows through the graph: one run in which each stage has right and wrong answers, counted by hand.

The answers of teachers, reviewers and programs stand in scripted.py; the student learns by heart what it is taught, so
that the questions it gets right say which rows reached it. Numbers below were counted from there, not from a run. What
must differ between two arms is compared too: an unexpected equal number is a fault.
"""

import csv
import json
from collections import Counter

import pytest

from .scripted import GOLD, SCORES

pytestmark = pytest.mark.e2e

COMPOSED = "rows/flow/{setup}/{recipe}/{model}/seed1"
EXAM = "committees/flow/flow/flow/fine-tune-cot/flow-student/seed1"
GATED_EXAM = "committees/flow/flow-gated/flow-gated/fine-tune-cot/flow-student/seed1"


def folder(recipe: str, model: str = "flow-student", setup: str = "flow") -> str:
    return COMPOSED.format(setup=setup, recipe=recipe, model=model)


def two_letters(row: dict) -> str:
    """Which question a record is about."""
    return row["qid"].rsplit("-", 1)[1]


def test_nobody_was_asked_what_is_not_in_the_script(flow):
    assert flow.unknown == []


def test_the_rules_hand_sandbox_prices_and_budget_to_the_jobs(flow):
    given = flow.environment
    assert "seccomp" in given.values()
    assert {"api:writer@http://teachers.test/v1": [1.0, 2.0]} in map(plain_value, given.values())
    assert {"samples": 5000} in [
        {name: limit for name, limit in found.items() if limit is not None}
        for found in map(plain_value, given.values())
        if isinstance(found, dict)
    ]
    for path in ("verdicts/flow/train/flow-programs", "refined/flow/test/flow/pad/flow-student/seed1"):
        record = flow.read(f"{path}/provenance.json")
        assert record["stage"] == "refine" or record["work"]["sandbox"].startswith("seccomp")


def plain_value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


# Sampler -> grader -> outcomes.
VERDICTS = {
    "flow-teacher": {
        "robust": {"right": 5, "wrong": 2, "truncated": 2, "unparsable": 2, "refused": 1},
        "paper": {"right": 6, "wrong": 5, "refused": 1},
    },
    "flow-programs": {
        "robust": {"right": 4, "wrong": 3, "raised": 1, "rejected": 1, "refused": 1, "unparsable": 2},
    },
    "flow-asked": {"robust": {"right": 3, "wrong": 2, "unparsable": 1}},
    "flow-exam/flow/fine-tune-cot/flow-student/seed1": {"paper": {"right": 2, "wrong": 4}},
}


@pytest.mark.parametrize("sampler", VERDICTS)
def test_verdicts_are_those_that_the_answers_deserve(flow, sampler):
    verdicts = flow.rows(f"verdicts/flow/train/{sampler}/verdicts.jsonl")
    for grader, expected in VERDICTS[sampler].items():
        assert Counter(row["outcome"] for row in verdicts if row["grader"] == grader) == expected


# Recipe, base model -> rows, samples used; then source -> kept, dropped by reason.
WRONG_FIRST = {"wrong": 1, "truncated": 1, "unparsable": 1, "refused": 1}
WRONG_BOTH = {"wrong": 2, "truncated": 2, "unparsable": 2, "refused": 1}
BAD_PROGRAMS = {"wrong": 3, "raised": 1, "rejected": 1, "refused": 1, "unparsable": 2}
ROWS = {
    ("fine-tune", "flow-student"): (6, 0, {"gold": (6, {})}),
    ("fine-tune-cot", "flow-student"): (2, 6, {"teacher": (2, WRONG_FIRST)}),
    ("fine-tune-cot-diverse", "flow-student"): (5, 12, {"teacher": (5, WRONG_BOTH)}),
    ("fine-tune-cot-matched", "flow-student"): (5, 12, {"teacher": (5, {"wrong": 5, "truncated": 1, "refused": 1})}),
    ("mentor-sft", "flow-mentor"): (5, 12, {"teacher": (5, WRONG_BOTH)}),
    ("mentor-kd", "flow-student"): (6, 12, {"teacher": (2, WRONG_FIRST), "mentor": (4, {"wrong": 2})}),
    ("pad", "flow-student"): (9, 12, {"program": (5, {"empty rationale": 1}), "repair": (4, BAD_PROGRAMS)}),
    ("pad-without-refinement", "flow-student"): (4, 12, {"program": (4, BAD_PROGRAMS)}),
}


@pytest.mark.parametrize(("recipe", "model"), ROWS)
def test_rows_are_kept_and_dropped_for_the_right_reasons(flow, recipe, model):
    rows, samples, sources = ROWS[recipe, model]
    counts = flow.read(f"{folder(recipe, model)}/summary.json")
    assert (counts["training_rows"], counts["samples_used"]) == (rows, samples)
    found = {name: (part["kept"], part["dropped"]) for name, part in counts["sources"].items()}
    assert {name: kept for name, (kept, _) in found.items()} == {name: kept for name, (kept, _) in sources.items()}
    for name, (_, dropped) in sources.items():
        merged = Counter(found[name][1])
        if name == "mentor":  # an untaught question may also end without an answer
            merged = Counter(wrong=merged.total())
        assert merged == dropped
    written = flow.rows(f"{folder(recipe, model)}/rows.jsonl")
    assert len(written) == rows


def test_targets_end_with_the_gold_answer_and_hold_the_text_of_their_own_sample(flow):
    taught = {
        (two_letters(row), row["sample_index"]): row
        for row in flow.rows(f"{folder('fine-tune-cot-diverse')}/rows.jsonl")
    }
    assert {key: row["target"] for key, row in taught.items()} == {
        ("bb", 0): " 1 + 2 --> 3",
        ("bb", 1): " 1 + 2 so --> 3",
        ("kk", 1): " 2 + 2 so --> 4",
        ("mm", 1): " 5 + 2 so --> 7",
        ("xx", 0): " 6 + 2 --> 8",
    }
    assert taught["kk", 1]["prompt"] == "Q: kk 2 + 2\nA:"
    answers = {row["target"] for row in flow.rows(f"{folder('fine-tune')}/rows.jsonl")}
    assert answers == {f" {gold}" for gold in GOLD.values()}
    (repair,) = [
        row
        for row in flow.rows(f"{folder('pad')}/rows.jsonl")
        if row["source"] == "repair" and two_letters(row) == "kk"
    ]
    assert repair["prompt"].startswith("Question: kk 2 + 2\n")
    assert "def solution():\n    return a + 2\n" in repair["prompt"] and "NameError" in repair["prompt"]
    assert repair["target"].strip() == "def solution():\n    a = 2\n    return a + 2"


# What a student was taught, it answers; nothing else. Two of the eight test questions nobody taught.
RIGHT = {
    ("flow-zero", "flow-mentor"): "",
    ("fine-tune", "flow-student"): "aa bb kk mm xx zz",
    ("fine-tune-cot", "flow-student"): "bb xx",
    ("fine-tune-cot-diverse", "flow-student"): "bb kk mm xx",
    ("mentor-kd", "flow-student"): "bb kk mm xx",
    ("pad", "flow-student"): "bb kk xx",
    ("mapd", "flow-student"): "aa kk mm",
}
AFTER_ROUNDS = [25.0, 37.5, 37.5]
"""The student wrote the failing program of `kk` that it learned, and repaired it once it saw the error."""


@pytest.mark.parametrize(("recipe", "model"), RIGHT)
def test_a_student_is_right_on_what_its_rows_taught_and_on_nothing_else(flow, recipe, model):
    where = f"scores/flow/test/flow/{recipe}/{model}/seed1"
    graded = flow.rows(f"{where}/graded.jsonl")
    right = sorted(two_letters(row) for row in graded if row["outcomes"]["robust"] == "right")
    assert (len(graded), right) == (8, RIGHT[recipe, model].split())
    scores = flow.read(f"{where}/scores.json")
    assert scores["graders"]["robust"]["accuracy"] == 12.5 * len(right)
    assert scores.get("rounds", {}).get("robust") == (AFTER_ROUNDS if recipe == "pad" else None)


def test_a_program_that_failed_is_repaired_after_its_error_was_shown(flow):
    drafts = [
        row
        for row in flow.rows("refined/flow/test/flow/pad/flow-student/seed1/rounds.jsonl")
        if two_letters(row) == "kk"
    ]
    assert [(row["round"], row["feedback"] and "NameError" in row["feedback"]) for row in drafts] == [
        (0, True),
        (1, None),
    ]
    first = flow.rows("predictions/flow/test/flow/pad/flow-student/seed1/predictions.jsonl")
    assert {two_letters(row): row["text"] for row in first}["kk"].strip() == "def solution():\n    return a + 2"


def test_as_many_updates_are_made_as_the_matched_recipe_would_make(flow):
    """Six rows of Mentor-KD, one a batch, two epochs; the recipe's own five rows would make ten updates."""
    assert flow.read("models/flow/flow/fine-tune-cot-matched/flow-student/seed1/summary.json")["steps"] == 12
    assert flow.read(f"{folder('fine-tune-cot-matched')}/summary.json")["training_rows"] == 5


def test_mistakes_are_those_of_the_student_that_was_trained_before(flow):
    mistakes = flow.rows(f"{EXAM}/mistakes.jsonl")
    assert [two_letters(row) for row in mistakes] == ["aa", "kk", "mm", "zz"]
    answers = flow.rows("completions/flow/train/flow-exam/flow/fine-tune-cot/flow-student/seed1/completions.jsonl")
    written = {row["qid"]: row["text"] for row in answers}
    assert {row["qid"]: row["text"] for row in mistakes} == {row["qid"]: written[row["qid"]] for row in mistakes}
    after_diverse = flow.rows("committees/flow/flow/flow/fine-tune-cot-diverse/flow-student/seed1/mistakes.jsonl")
    assert [two_letters(row) for row in after_diverse] == ["aa", "zz"]


def test_the_second_round_takes_the_mistakes_of_the_student_of_the_first(flow):
    verdicts = flow.rows("verdicts/flow/train/flow-exam/flow/mapd.round=1/flow-student/seed1/verdicts.jsonl")
    wrong = {two_letters(row) for row in verdicts if row["grader"] == "robust" and row["outcome"] != "right"}
    assert not {"aa", "kk", "mm"} & wrong and "zz" in wrong
    mistakes = flow.rows("committees/flow/flow/flow/mapd.round=1/flow-student/seed1/mistakes.jsonl")
    assert {two_letters(row) for row in mistakes} == wrong


def test_a_gated_committee_reviews_right_rationales_alone_and_a_limit_draws_mistakes(flow):
    counts = flow.read(f"{GATED_EXAM}/summary.json")
    assert (counts["right"], counts["mistakes"], counts["not_used"]) == (3, 2, {"over the limit": 1})
    assert [two_letters(row) for row in flow.rows(f"{GATED_EXAM}/mistakes.jsonl")] == LIMITED
    routed = flow.read(f"{GATED_EXAM}/members/flow-pair/reviewed.json")["routed"]
    assert routed == GATED_ROUTING
    assert flow.read(f"{EXAM}/members/flow-pair/reviewed.json")["routed"] == {
        "rationales": 12,
        "null": 1,
        "stopped": 0,
        "reviewed": 11,
        "reviews": 22,
    }


LIMITED = ["aa", "xx"]
"""Drawn by the committee's seed out of aa, mm and xx; the first two would be aa and mm, and seed 0 draws mm and xx."""
GATED_ROUTING = {"rationales": 6, "null": 0, "stopped": 4, "reviewed": 2, "reviews": 4}


def test_every_review_has_the_score_that_its_reviewer_gave(flow):
    signs = {
        row["completion_id"]: row
        for name in ("flow-pair", "flow-single")
        for row in flow.rows(f"{EXAM}/members/{name}/rationales.jsonl")
    }
    given = [row for name in ("flow-pair", "flow-single") for row in flow.rows(f"{EXAM}/members/{name}/reviews.jsonl")]
    assert len(given) == 22
    for row in given:
        assert signs[row["rationale_id"]]["sampler"] == row["author"] != row["reviewer"]
        said = SCORES[two_letters(row), row["author"]][row["reviewer"]]
        assert (row["score"], row["reason"] is None) == ((None, False) if said == "?" else (int(said), True))


# Recipe -> accepted rationales, or None where nothing is decided by them; mistakes that became pairs.
ACCEPTED = {
    "mapd": ("aa alpha, kk alpha, kk beta, mm alpha, mm beta", "aa kk mm"),
    "mapd-review-and-check": ("aa alpha, kk alpha, mm alpha, mm beta", "aa kk mm"),
    "mapd-answer-check": ("aa alpha, kk alpha, kk gamma, mm alpha, mm beta, zz beta, zz gamma", "aa kk mm zz"),
    "mapd-without-review": (None, "aa kk mm zz"),
    "mapd-single": (None, "aa kk mm zz"),
    "mapd-random-drop": (None, "DRAWN"),
    "mapd-paper": ("aa alpha, zz gamma", "aa zz"),
    "gated": ("aa alpha, xx gamma", "aa xx"),
}


@pytest.mark.parametrize("recipe", ACCEPTED)
def test_accepted_rationales_and_pairs_are_those_of_the_recipes_rule(flow, recipe):
    accepted, pairs = ACCEPTED[recipe]
    where = folder("mapd", setup="flow-gated") if recipe == "gated" else folder(recipe)
    decided = flow.rows(f"{where}/acceptances.jsonl")
    found = sorted(f"{two_letters(row)} {row['author']}" for row in decided if row["decision"] == "accepted")
    assert accepted is None or ", ".join(found) == accepted
    rows = flow.rows(f"{where}/rows.jsonl")
    assert sorted({two_letters(row) for row in rows}) == (pairs.split() if pairs != "DRAWN" else LEFT)
    assert [row["source"] for row in rows].count("rationale") == len({two_letters(row) for row in rows})


LEFT = ["aa", "mm", "zz"]
"""Drawn out of the four mistakes: as many as MAPD keeps, but not those that MAPD keeps."""


def test_pairs_hold_the_teachers_own_texts_and_the_students_own_mistake(flow):
    written = {}
    for name in ("flow-pair", "flow-single"):
        for kind in ("rationales", "feedback"):
            for row in flow.rows(f"{EXAM}/members/{name}/{kind}.jsonl"):
                written[row["completion_id"]] = (kind, row["text"].strip())
    wrong = {row["qid"]: row["text"].strip() for row in flow.rows(f"{EXAM}/mistakes.jsonl")}
    for recipe in ("mapd", "mapd-single", "mapd-without-review"):
        for row in flow.rows(f"{folder(recipe)}/rows.jsonl"):
            kind, text = written[row["completion_id"]]
            assert kind.startswith(row["source"]) and row["target"].strip() == text
            if kind == "feedback":
                gold = next(gold for question, gold in GOLD.items() if question.startswith(two_letters(row)))
                assert f"Wrong answer: {wrong[row['qid']]}\nRight answer: {gold}\n" in row["prompt"]
    authors = {
        written[row["completion_id"]][1].split(":")[0]
        for row in flow.rows(f"{folder('mapd-single')}/rows.jsonl")
        if row["source"] == "feedback"
    }
    assert authors == {"alpha"}, "the committee's first"


def test_training_continues_from_the_student_that_made_the_mistakes(flow):
    manifest = flow.read("models/flow/flow/mapd/flow-student/seed1/manifest.json")
    before = flow.read("models/flow/flow/fine-tune-cot/flow-student/seed1/manifest.json")
    base = flow.read("base_models/flow-student/manifest.json")
    assert manifest["training"]["base"] == before["identity"] != base["identity"]
    assert before["training"]["base"] == base["identity"]


# Beginning of the prompt -> how often it was sent, with which model and decoding; greedy is sent without a seed.
SENT = {
    "Q: ": (12, "writer", {"temperature": 0.6, "top_p": 0.9, "top_k": 7, "max_tokens": 31, "stop": ["\n"]}),
    "Program: ": (12, "writer", {"temperature": 0.4, "top_p": 1.0, "max_tokens": 97, "stop": ["Program:"]}),
    "Teacher alpha, solve": (None, "pair", {"temperature": 0.5, "top_p": 1.0, "max_tokens": 33, "stop": ["\n"]}),
    "Teacher beta, solve": (None, "pair", {"temperature": 0.0, "max_tokens": 34, "stop": ["\n"]}),
    "Teacher gamma, solve": (None, "single", {"temperature": 0.0, "max_tokens": 35, "stop": ["\n"]}),
    "Teacher alpha, correct": (None, "pair", {"temperature": 0.2, "top_p": 1.0, "max_tokens": 43, "stop": ["\n"]}),
    "Teacher beta, correct": (None, "pair", {"temperature": 0.0, "max_tokens": 34, "stop": ["\n"]}),
    "Teacher gamma, correct": (None, "single", {"temperature": 0.0, "max_tokens": 35, "stop": ["\n"]}),
}


def decoding_of(request: dict) -> dict:
    return {name: value for name, value in request.items() if name not in {"path", "prompt", "model", "seed"}}


@pytest.mark.parametrize("start", SENT)
def test_every_request_has_its_samplers_decoding(flow, start):
    number, model, decoding = SENT[start]
    sent = [request for request in flow.requests if request["prompt"].startswith(start)]
    assert number in (None, len(sent)) and sent
    assert {request["model"] for request in sent} == {model}
    assert all(decoding_of(request) == decoding for request in sent)
    seeds = [request.get("seed") for request in sent]
    assert set(seeds) == {None} if decoding["temperature"] == 0 else len(set(seeds)) == len(sent) and None not in seeds


def test_the_second_call_is_greedy_short_and_follows_the_first_text(flow):
    asked = [request for request in flow.requests if request["prompt"].startswith("Ask: ")]
    first = [request for request in asked if request["prompt"].endswith("Reason:")]
    second = [request for request in asked if request not in first]
    assert (len(first), len(second)) == (6, 6)
    assert {(request["temperature"], request["max_tokens"]) for request in first} == {(0.3, 38)}
    assert {(request["temperature"], request["max_tokens"], "seed" in request) for request in second} == {
        (0.0, 6, False)
    }


def test_teachers_see_the_students_own_wrong_answer_and_the_right_one(flow):
    shown = {
        tuple(request["prompt"].split("\n")[:3])
        for request in flow.requests
        if request["prompt"].startswith("Teacher alpha, correct: ")
    }
    for exam in (EXAM, GATED_EXAM):
        for row in flow.rows(f"{exam}/mistakes.jsonl"):
            question = row["question"]
            assert (
                f"Teacher alpha, correct: {question}",
                f"Wrong: {row['text'].strip()}",
                f"Right: {GOLD[question]}",
            ) in shown


def test_reviewers_see_the_rationale_and_the_hint_of_their_committee(flow):
    hints = Counter()
    for request in flow.requests:
        if request["prompt"].startswith("Reviewer") and request["prompt"].endswith("Judgement:"):
            head, _, hint, _ = request["prompt"].split("\n")
            question = head.split(": ")[1]
            assert request["temperature"] == 0.0 and request["max_tokens"] == 36
            hints[hint == f"Hint: {GOLD[question]}", hint == f"Hint: solution of {question[:2]}"] += 1
    assert hints[False, False] == 0
    assert hints[False, True] == GATED_ROUTING["reviews"], "the gated committee shows reference solutions"
    scores = [request for request in flow.requests if request["prompt"].endswith("Score: [")]
    assert len(scores) == sum(hints.values())
    assert {(request["temperature"], request["max_tokens"]) for request in scores} == {(0.0, 1)}
    assert all(request["structured_outputs"] == {"choice": list("12345")} for request in scores)


# Recipe -> accuracy, samples, rows, difference to Fine-tune-CoT, published.
TABLE = {
    "flow-zero": ("0.0", "", "", "", ""),
    "fine-tune": ("75.0", "0.0", "6.0", "50.0", ""),
    "fine-tune-cot": ("25.0", "6.0", "2.0", "", ""),
    "fine-tune-cot-diverse": ("50.0", "12.0", "5.0", "25.0", ""),
    "mentor-kd": ("50.0", "12.0", "6.0", "25.0", "71.5"),
    "pad": ("37.5", "12.0", "9.0", "12.5", ""),
    "mapd": ("37.5", "24.0", "6.0", "12.5", ""),
}


def test_the_table_has_each_arms_accuracy_costs_and_published_number(flow):
    rows = list(csv.DictReader((flow.root / "results/tables/flow/table.csv").open()))
    names = ("accuracy", "samples_used", "training_rows", "difference", "published")
    assert {row["recipe"]: tuple(row[name] for name in names) for row in rows} == TABLE
    assert {row["recipe"]: row["rounds"] for row in rows if row["rounds"]} == {"pad": "25.0 37.5 37.5"}
    assert {row["questions"] for row in rows} == {"8"}


def test_the_audit_counts_right_rationales_among_the_accepted(flow):
    figures = flow.read("audits/flow/flow/mapd/flow-student/seed1/audit.json")
    at = {row["threshold"]: row for row in figures["thresholds"]}
    assert (at[3.0]["accepted"], at[3.0]["right"], at[3.0]["questions"]) == (5, 4, 3)
    assert (at[4.0]["accepted"], at[4.0]["right"]) == (2, 2)
    assert at[3.0]["recall"] == 4 / 7
