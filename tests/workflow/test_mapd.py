"""MAPD as a workflow, on random weights with the real engine: what a change plans, and what is really asked anew.

`planned` and `computed` as in test_staleness; docs/staleness.md shows the same table:
`UPDATE_STALENESS=1 pytest tests/workflow/test_mapd.py`.
"""

import csv
import json

import pytest

from .contract import Change, documented, markdown, no_change, replace, settings, told

pytestmark = pytest.mark.e2e

WHO = "tiny/tiny/{recipe}/tiny-random-half/seed1"
ROWS = f"results/rows/{WHO}/rows.jsonl"
LESSON = "results/committees/tiny/tiny/tiny-random-half"
COMMITTEE = "config/committees/tiny.yaml"


def written(project) -> set[str]:
    """Names in the store of all that teachers and reviewers wrote."""
    found = set()
    for path in (project.root / "results/committees").rglob("*.jsonl"):
        if path.stem in {"rationales", "feedback", "replies"}:
            for line in path.read_text().splitlines():
                row = json.loads(line)
                found |= {row["completion_id"], row["answer_id"]}
    return found - {None}


def acceptances(project, recipe: str = "mapd") -> list[dict]:
    path = project.root / f"results/rows/{WHO.format(recipe=recipe)}/acceptances.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_table_says_that_reviewers_are_of_the_authors_family_and_the_audit_is_there(finished_mapd_template):
    root = finished_mapd_template.root
    for form in ("md", "html"):
        table = (root / f"results/tables/tiny_mapd/table.{form}").read_text()
        assert "MAPD" in table and "one reviews two" in table and "allow by name" in table
    audit = (root / f"results/audits/{WHO.format(recipe='mapd')}/audit.html").read_text()
    assert "Other thresholds" in audit and "one reviews two" in audit


def test_counts_add_up_from_exam_to_pairs(finished_mapd_template):
    root = finished_mapd_template.root
    counts = json.loads((root / LESSON / "summary.json").read_text())
    assert counts["asked"] == 6 == counts["right"] + counts["mistakes"] + sum(counts["not_used"].values())
    rows = json.loads((root / f"results/rows/{WHO.format(recipe='mapd')}/summary.json").read_text())
    assert rows["mistakes"] == counts["mistakes"] == rows["pairs"] + sum(rows["dropped"].values())
    assert rows["training_rows"] == 2 * rows["pairs"]
    for model in ("tiny-random", "tiny-other"):
        reviewed = json.loads((root / LESSON / "members" / model / "reviewed.json").read_text())
        assert reviewed["reviews"] == reviewed["valid"] + sum(reviewed["invalid"].values())
        assert reviewed["reviews"] == sum(one["completions"] for one in reviewed["replies"].values())


def test_every_score_is_one_of_five_with_probabilities_and_nobody_reviews_itself(finished_mapd_template):
    found = sorted((finished_mapd_template.root / LESSON).rglob("reviews.jsonl"))
    assert len(found) == 2, "one for each model that reviews"
    for path in found:
        for line in path.read_text().splitlines():
            review = json.loads(line)
            assert review["score"] in {1, 2, 3, 4, 5} and 1 <= review["expected"] <= 5
            assert review["author"] != review["reviewer"]


def test_thresholds_aggregations_and_arms_are_swept_without_one_new_call(finished_mapd):
    finished_mapd.change_yaml(
        "config/experiments/tiny_mapd.yaml",
        lambda file: file["arms"].extend(
            [
                {"recipe": "mapd", "sweep": {"pairs.accept.threshold": [0.25, 0.5]}, "title": "threshold"},
                {"recipe": "mapd", "sweep": {"pairs.accept.aggregate": ["median", "min"]}, "title": "aggregate"},
                {"recipe": "mapd", "sweep": {"pairs.accept.calibration": ["rank", "z-score"]}, "title": "calibration"},
                {"recipe": "mapd", "set": {"pairs.accept.strict": False}, "title": "not strict"},
                {"recipe": "mapd", "set": {"pairs.accept.value": "expected"}, "title": "expected"},
                {"recipe": "mapd-without-review"},
                {"recipe": "mapd-single", "sweep": {"pairs.teacher": ["two", "three"]}},
                {"recipe": "mapd-random-drop"},
            ]
        ),
    )
    names = ["threshold=0.25", "threshold=0.5", "aggregate=median", "aggregate=min", "calibration=rank"]
    names += ["calibration=z-score", "strict=false", "value=expected"]
    recipes = [
        *(f"mapd.{name}" for name in names),
        *("mapd-without-review", "mapd-single.teacher=two", "mapd-single.teacher=three", "mapd-random-drop"),
    ]
    ran = finished_mapd.run(*(ROWS.format(recipe=recipe) for recipe in recipes))
    assert (ran.drawn, ran.computed) == (0, {"compose_pairs": 12})


def test_a_fourth_teacher_draws_its_own_calls_and_reviews_of_it_and_no_other(finished_mapd):
    before = written(finished_mapd)
    finished_mapd.change_yaml(
        COMMITTEE,
        lambda file: file["teachers"].update(
            four={
                **file["teachers"]["three"],
                "family": "fourth",
                "decoding": {"temperature": 1.0, "max_new_tokens": 12, "seed": 5},
            }
        ),
    )
    ran = finished_mapd.run(ROWS.format(recipe="mapd"))
    new = written(finished_mapd) - before
    assert written(finished_mapd) >= before and ran.drawn == len(new) > 8
    assert "sample" not in ran.computed and "mistakes" not in ran.computed
    assert {one["author"] for one in acceptances(finished_mapd)} == {"one", "two", "three", "four"}


def test_a_person_reviews_by_sheet_under_their_own_name_and_a_bad_sheet_is_told_row_by_row(finished_mapd):
    sheet = f"{LESSON}/people/anna/sheet.csv"
    assert finished_mapd.run(sheet).drawn == 0
    with open(finished_mapd.root / sheet, newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows and "author" not in rows[0]

    def hand_in(scores: list[str]) -> None:
        with open(finished_mapd.root / "anna-tiny.csv", "w", newline="") as file:
            lines = csv.DictWriter(file, rows[0].keys())
            lines.writeheader()
            lines.writerows({**row, "score": score} for row, score in zip(rows, scores, strict=True))

    finished_mapd.change_yaml(COMMITTEE, lambda file: file["people"]["anna"].update(sheet="anna-{task}.csv"))
    hand_in(["9"] + ["5"] * (len(rows) - 1))
    refused = finished_mapd.snakemake("--cores", "1", ROWS.format(recipe="mapd"), check=False)
    assert refused.returncode != 0 and "anna-tiny.csv: line 2, score = '9'" in refused.stdout
    hand_in([""] + ["5"] * (len(rows) - 1))
    ran = finished_mapd.run(ROWS.format(recipe="mapd"))
    assert ran.drawn == 0
    scores = [one["scores"].get("anna") for one in acceptances(finished_mapd) if "anna" in one["scores"]]
    assert sorted(scores, key=str) == [5] * (len(rows) - 1) + [None]


def test_garbage_collection_keeps_what_teachers_and_reviewers_wrote(finished_mapd):
    from distillery.planning.references import completion_keys

    assert written(finished_mapd) <= completion_keys([finished_mapd.root / "results"])


def test_rounds_are_a_sweep_in_which_each_student_sits_the_next_exam(finished_mapd):
    finished_mapd.change_yaml(
        "config/experiments/tiny_mapd.yaml",
        lambda file: file["arms"].append({"recipe": "mapd", "sweep": {"pairs.round": [2]}}),
    )
    planned = finished_mapd.planned()
    trained = {"compose_pairs": 2, "train_student": 2}
    student_answers = {"sample_mentor": 1, "verify_mentor": 1, "mistakes": 1, "ask_teachers": 2, "peer_review": 2}
    asked = {"verify_rationales": 1, "audit": 1, "sample_predictions": 1, "score": 1, "tables": 1, "all": 1}
    assert planned == {**trained, **student_answers, **asked}


BELOW_ROWS = {"train_student": 1, "sample_predictions": 1, "score": 1, "tables": 1, "all": 1}
BELOW_REVIEWS = {"compose_pairs": 1, "audit": 1, **BELOW_ROWS}
BELOW_TEACHERS = {"verify_rationales": 1, "peer_review": 2, **BELOW_REVIEWS}

CHANGES = [
    Change("nothing", no_change),
    Change(
        "acceptance: threshold, strictness, aggregation, calibration",
        settings("config/setups.yaml", "tiny.recipes.mapd.pairs.accept.threshold", 0.5),
        {**BELOW_REVIEWS},
        {"compose_pairs": 1},
    ),
    Change("alpha", replace("config/recipes/mapd.yaml", "alpha: 0.5", "alpha: 0.25"), BELOW_ROWS, {}),
    Change(
        "the prompt of feedback rows",
        replace("config/prompts/student-feedback.yaml", "What went wrong", "What is wrong"),
        BELOW_REVIEWS,
        {"compose_pairs": 1},
    ),
    Change(
        "one reviewer's prompt",
        settings(COMMITTEE, "teachers.three.review", "review-terse"),
        {"peer_review": 1, **BELOW_REVIEWS},
    ),
    Change(
        "a reviewers' setting",
        settings(COMMITTEE, "review.decoding.max_new_tokens", 9),
        {"peer_review": 2, **BELOW_REVIEWS},
    ),
    Change(
        "one teacher's feedback decoding",
        settings(COMMITTEE, "teachers.three.feedback_decoding", {"max_new_tokens": 9}),
        {"ask_teachers": 1, **BELOW_TEACHERS},
    ),
    Change(
        "which mistakes count",
        settings(COMMITTEE, "student_answers.limit", 3),
        {"mistakes": 1, "ask_teachers": 2, **BELOW_TEACHERS},
    ),
    Change(
        "the decoding of student answers",
        replace("config/samplers/tiny-student-answers.yaml", "max_new_tokens: 12", "max_new_tokens: 11"),
        {"sample_student_answers": 1, "verify_student_answers": 1, "mistakes": 1, "ask_teachers": 2, **BELOW_TEACHERS},
    ),
]


@pytest.mark.parametrize("change", CHANGES, ids=[change.what for change in CHANGES])
def test_a_change_plans_exactly_what_it_must_and_decisions_ask_no_model(finished_mapd, change):
    change.make(finished_mapd)
    assert finished_mapd.planned() == change.planned
    if change.computed is not None:
        ran = finished_mapd.run(ROWS.format(recipe="mapd"))
        assert (ran.computed, ran.drawn) == (change.computed, 0)


def test_the_document_shows_the_contract_that_is_tested():
    table = markdown(["change", "planned by Snakemake"], [(one.what, told(one.planned)) for one in CHANGES])
    assert documented("MAPD", table) == table
