"""Committees and the recipes that they teach: what is declared fits, who sits which exam, what tables must say."""

from pathlib import Path

import pytest
import yaml

from distillery.config.committee_checks import routing_of
from distillery.errors import UserError
from distillery.peer_review.audit_pages import write_pages
from distillery.records import TrainingRow
from distillery.registry import load_workspace
from distillery.training.units import count_units

REPOSITORY = Path(__file__).parents[3]
COMMITTEE = "committees/miniature.yaml"


def edit(config: Path, file: str, change) -> None:
    content = yaml.safe_load((config / file).read_text())
    change(content)
    (config / file).write_text(yaml.safe_dump(content, sort_keys=False))


def load(config):
    return load_workspace({"experiments": ["miniature"]}, config)


def sweep(config, **settings):
    edit(config, "experiments/miniature.yaml", lambda file: file["arms"].append({"recipe": "mapd", **settings}))


def test_the_shipped_committee_says_in_tables_that_reviewers_are_of_the_authors_family():
    committee = load(REPOSITORY / "config").committees["miniature"]
    assert len(committee.names) == 3
    assert "similar reviews fixed" in committee.note and "by name" in committee.note
    assert routing_of(committee)["fixed"] == ("similar", "brief")


FAULTS = {
    "same family without leave": (lambda file: file.pop("same_family"), ["reviewers of similar", "of its family"]),
    "self-review": (lambda file: file["same_family"].append(["fixed", "fixed"]), ["nobody may review itself"]),
    "a pair that is none": (lambda file: file["same_family"].append(["x", "fixed"]), ["no such reviewer"]),
    "unknown model": (lambda file: file["teachers"]["fixed"].update(model="gpt-9"), ["gpt-9", "teachers.fixed.model"]),
    "unknown prompt": (lambda file: file["teachers"]["fixed"].update(feedback="no"), ["teachers.fixed.feedback"]),
    "unknown review prompt": (lambda file: file["teachers"]["fixed"].update(review="no"), ["teachers.fixed.review"]),
    "unknown exam": (lambda file: file["student_answers"].update(sampler="no"), ["student_answers.sampler"]),
    "an exam by a teacher": (
        lambda file: file["student_answers"].update(sampler="smollm2-few-shot"),
        ["model: trained"],
    ),
    "a name twice": (lambda file: file.update(people={"fixed": {}}), ["two members"]),
    "teachers and a release": (lambda file: file.update(released={"folder": "x"}), ["not both"]),
    "many greedy reviews": (lambda file: file["review"].update(samples=2), ["greedy"]),
}


@pytest.mark.parametrize(("change", "words"), FAULTS.values(), ids=FAULTS)
def test_a_fault_in_a_committee_is_refused_with_file_and_words(config, change, words):
    edit(config, COMMITTEE, change)
    with pytest.raises(UserError) as error:
        load(config)
    assert COMMITTEE in str(error.value)
    for word in words:
        assert word in str(error.value)


RECIPE_FAULTS = {
    "no committee": (lambda config: edit(config, "setups.yaml", lambda file: file["miniature"].pop("committee")),
                     ["needs a committee", "miniature.committee"]),
    "unknown teacher": (
        lambda config: edit(
            config, "experiments/miniature.yaml",
            lambda file: file["arms"].append({"recipe": "mapd-single", "set": {"pairs.teacher": "gpt"}}),
        ), ["no such teacher", "similar, fixed, brief"]),
    "a teacher for all": (lambda config: sweep(config, set={"pairs.teacher": "fixed"}), ["mode: single"]),
    "a student after nobody": (lambda config: sweep(config, set={"pairs.after": "nope"}), ["pairs.after", "nope"]),
    "after one that trains nobody": (
        lambda config: sweep(config, set={"pairs.after": "zero-shot"}), ["trains no student"]),
    "in a circle": (
        lambda config: edit(config, "recipes/mapd.yaml", lambda file: file["pairs"].update(after="mapd-single")),
        ["in a circle"]),
    "no size to match": (lambda config: edit(config, "recipes/mapd-random-drop.yaml",
                                             lambda file: file["pairs"].update(size_of="fine-tune-cot")),
                         ["no decisions of its own"]),
    "reviews that were not asked for": (
        lambda config: sweep(config, set={"pairs.accept.gate": "none"}),
        ["only rationales that robust finds right", "pairs.accept.gate"]),
    "another loss": (lambda config: edit(config, "recipes/mapd-single.yaml",
                                         lambda file: file.update(objective={"loss": "cross-entropy"})),
                     ["two-task"]),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), RECIPE_FAULTS.values(), ids=RECIPE_FAULTS)
def test_a_recipe_that_does_not_fit_its_committee_is_refused(config, change, words):
    change(config)
    with pytest.raises(UserError) as error:
        load(config)
    for word in words:
        assert word in str(error.value)


def test_in_a_second_round_the_student_of_the_first_sits_the_exam_and_the_first_is_made_for_it(config):
    sweep(config, sweep={"pairs.round": [3], "objective.alpha": [0.25]})
    workspace = load(config)
    third, second, first = (f"mapd.alpha=0.25.round={number}" for number in (3, 2, 1))
    assert (
        workspace.committee_student(third, "miniature", "smollm2-135m-26-layers", 1)
        == f"miniature/{second}/smollm2-135m-26-layers/seed1"
    )
    assert workspace.committee_student(second, "miniature", "smollm2-135m-26-layers", 7).endswith(
        f"{first}/smollm2-135m-26-layers/seed7"
    )
    sat = "miniature/fine-tune-cot-diverse/smollm2-135m-26-layers/seed1"
    assert workspace.committee_student(first, "miniature", "smollm2-135m-26-layers", 1) == sat, "as the setup says"
    assert workspace.recipe(first, "miniature").objective.alpha == 0.25


def test_an_exam_may_be_sat_by_a_named_model_or_by_a_student_of_another_recipe(config):
    edit(config, COMMITTEE, lambda file: file["student_answers"].update(student="smollm2-135m"))
    edit(config, "setups.yaml", lambda file: file["miniature"]["recipes"]["mapd"]["pairs"].update(after=None))
    sweep(config, set={"pairs.after": "fine-tune-cot"}, title="after")
    workspace = load(config)
    assert workspace.committee_student("mapd", "miniature", "smollm2-135m-26-layers", 1) == "smollm2-135m"
    assert "fine-tune-cot" in workspace.committee_student(
        "mapd.after=fine-tune-cot", "miniature", "smollm2-135m-26-layers", 1
    )


def test_a_released_exchange_is_sat_by_nobody_of_ours():
    workspace = load(REPOSITORY / "config")
    assert workspace.committee_student("mapd", "svamp-released", "smollm2-135m-26-layers", 1) == "released"
    assert workspace.committees["svamp-released"].names == ["gpt", "gemini", "mistral"]


def test_a_person_reviews_once_the_sheet_is_named(config):
    edit(config, COMMITTEE, lambda file: file.update(people={"anna": {}}))
    committee = load(config).committees["miniature"]
    assert "anna" not in routing_of(committee)["fixed"] and "anna" in routing_of(committee, also="anna")["fixed"]
    sheet = config / "anna.csv"
    sheet.touch()
    edit(config, COMMITTEE, lambda file: file["people"]["anna"].update(sheet=str(sheet)))
    assert "anna" in routing_of(load(config).committees["miniature"])["fixed"]


def row(qid: str, source: str) -> TrainingRow:
    return TrainingRow(qid=qid, source=source, sample_index=0, completion_id=None, prompt="p", target="t")


def test_a_control_with_as_many_updates_counts_pairs_as_one_and_rows_as_rows():
    pairs = [row(qid, source) for qid in ("a", "b", "c") for source in ("feedback", "rationale")]
    assert count_units(pairs) == 3
    assert count_units([row("a", "teacher"), row("a", "mentor"), row("b", "teacher")]) == 3


def test_audit_pages_show_the_lenient_reviewer_and_escape_what_stands_in_names(tmp_path):
    reviewer = {"reviews": 2, "valid": 2, "histogram": {str(n): 0 for n in range(1, 6)}, "mean": 5.0, "accuracy": 0.5,
                "false_accept_rate": 0.9, "lenient": True, "repeats": {"reviews": 0, "equal": 0}}  # fmt: skip
    figures = {
        "reviews": {"slots": 2, "valid": 2, "invalid": {"<b>": 1}},
        "reviewers": {"<script>": reviewer},
        "pairs": {},
        "agreement": {"rationales": 0, "equal": 0, "maximum_split": 0},
        "authors": {},
        "acceptance": {"confusion": {}, "precision": None, "recall": None, "not_checked": 0},
        "thresholds": [{"threshold": 3.0, "accepted": 1, "questions": 1, "right": 1, "precision": 1.0, "recall": None}],
    }
    write_pages(figures, tmp_path / "a.md", tmp_path / "a.html", title="T <i>", note="Same family")
    page = (tmp_path / "a.html").read_text()
    assert 'class="lenient"' in page and "Same family" in page and "<script>" not in page and "<i>" not in page
    assert "| 3.000 | 1 | 1 | 1 | 1.000 |  |" in (tmp_path / "a.md").read_text()
