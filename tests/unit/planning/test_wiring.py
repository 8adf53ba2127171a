"""Which file feeds which job: the expected producers of each recipe, written by hand from what the recipe means.

Two setups stand side by side, `miniature` as shipped and `other`, with teachers, mentor and committee of its own: a job
of one must never take a file of the other.
"""

import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from distillery.errors import UserError
from distillery.jobs.job import as_list
from distillery.planning.wiring import (
    committee_inputs,
    prediction_inputs,
    source_inputs,
    table_cells,
    training_inputs,
)
from distillery.planning.wiring.paths import PATHS, fill
from distillery.registry import load_workspace

REPOSITORY = Path(__file__).parents[3]
STUDENT = "smollm2-135m-26-layers"
BASE = f"results/base_models/{STUDENT}/manifest.json"
NOTHING: list[str] = []
CHOSEN = {"layers": 4, "task": "dates", "prompt": "student-cot"}


def trained(recipe: str, model: str = STUDENT, setup: str = "miniature") -> str:
    """Manifest of a trained model."""
    return f"results/models/arithmetic/{setup}/{recipe}/{model}/seed7/manifest.json"


def job(recipe: str, setup: str = "miniature", **others: str) -> SimpleNamespace:
    """Wildcards as Snakemake gives them: texts."""
    return SimpleNamespace(
        **{"task": "arithmetic", "split": "test", "setup": setup, "recipe": recipe, "model": STUDENT, "seed": "7"}
        | others
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    config = shutil.copytree(REPOSITORY / "config", tmp_path_factory.mktemp("wiring") / "config")

    def copy(source: str, target: str, **changes: object) -> None:
        content = yaml.safe_load((config / source).read_text())
        (config / target).write_text(yaml.safe_dump(content | changes, sort_keys=False))

    copy("samplers/smollm2-few-shot.yaml", "samplers/other-teacher.yaml", sampler="other-teacher")
    copy("samplers/smollm2-few-shot-program.yaml", "samplers/other-programs.yaml", sampler="other-programs")
    committee = yaml.safe_load((config / "committees/miniature.yaml").read_text())
    committee["teachers"]["brief"]["model"] = "smollm2-135m-third"
    (config / "committees/other-committee.yaml").write_text(
        yaml.safe_dump(
            committee
            | {"committee": "other-committee", "people": {"anna": {"sheet": "{task}-{student}.csv"}, "bert": {}}}
            | {"review": committee["review"] | {"gate": "none", "hint": "reference"}},
            sort_keys=False,
        )
    )
    models = yaml.safe_load((config / "models.yaml").read_text())
    models["chosen"] = {"kind": "pruned", "parent": "smollm2-135m", "drop_by_influence": CHOSEN}
    (config / "models.yaml").write_text(yaml.safe_dump(models, sort_keys=False))
    setups = yaml.safe_load((config / "setups.yaml").read_text())
    setups["other"] = setups["miniature"] | {
        "teacher": "other-teacher",
        "program_teacher": "other-programs",
        "mentor": "smollm2-135m-third",
        "committee": "other-committee",
    }
    (config / "setups.yaml").write_text(yaml.safe_dump(setups, sort_keys=False))
    experiment = yaml.safe_load((config / "experiments/miniature.yaml").read_text())
    (config / "experiments/on_dev.yaml").write_text(
        yaml.safe_dump(experiment | {"experiment": "on_dev", "split": "dev", "parts": {"steps": {}}}, sort_keys=False)
    )
    return load_workspace({"experiments": ["miniature"]}, config)


@dataclass(frozen=True)
class Wired:
    """What a recipe of setup `miniature` must be made from.

    `rows`: source -> folder below results/completions and results/verdicts. `answers`: the model that is scored.
    """

    rows: dict[str, str] = field(default_factory=dict)
    base: str = BASE
    soft_labels: str | list[str] = field(default_factory=list)
    answers: str | None = None
    prompt: str = "student-cot"
    scored: str = "predictions"
    checks: list[str] = field(default_factory=list)


TEACHER = {"teacher": "arithmetic/train/smollm2-few-shot"}
PROGRAMS = {"program": "arithmetic/train/smollm2-few-shot-program"}
MENTOR = {"mentor": "arithmetic/train/mentor/miniature/mentor-sft/smollm2-135m/seed7"}
SELF = {"mentor": f"arithmetic/train/mentor/miniature/fine-tune-cot-diverse/{STUDENT}/seed7"}
MENTOR_SFT = trained("mentor-sft", "smollm2-135m")
SAME_VOCABULARY = [f"results/base_models/{STUDENT}/taught_by_smollm2-135m.json"]

WIRED = {
    # Prompting: the base model answers.
    "zero-shot": Wired(answers=BASE, prompt="zero-shot"),
    "few-shot-cot": Wired(answers=BASE, prompt="few-shot-cot"),
    # Gold answers, or the teacher's rationales.
    "fine-tune": Wired(answers=trained("fine-tune"), prompt="student-answer"),
    "fine-tune-cot": Wired(TEACHER, answers=trained("fine-tune-cot")),
    "fine-tune-cot-diverse": Wired(TEACHER, answers=trained("fine-tune-cot-diverse")),
    "fine-tune-cot-matched": Wired(TEACHER, answers=trained("fine-tune-cot-matched")),
    # Mentor-KD: rows of teacher and trained mentor, and the trained mentor's distributions.
    "mentor-kd": Wired(TEACHER | MENTOR, soft_labels=MENTOR_SFT, answers=trained("mentor-kd"), checks=SAME_VOCABULARY),
    "mentor-kd-without-augmentation": Wired(
        TEACHER, soft_labels=MENTOR_SFT, answers=trained("mentor-kd-without-augmentation"), checks=SAME_VOCABULARY
    ),
    "mentor-kd-without-soft-labels": Wired(TEACHER | MENTOR, answers=trained("mentor-kd-without-soft-labels")),
    "mentor-kd-self-distillation": Wired(
        TEACHER | SELF,
        soft_labels=trained("fine-tune-cot-diverse"),
        answers=trained("mentor-kd-self-distillation"),
        checks=[f"results/base_models/{STUDENT}/taught_by_{STUDENT}.json"],
    ),
    # PaD: programs; repair rows come from the same programs; refined predictions are scored.
    "pad-without-refinement": Wired(PROGRAMS, answers=trained("pad-without-refinement"), prompt="student-program"),
    "pad": Wired(
        PROGRAMS | {"repair": PROGRAMS["program"]}, answers=trained("pad"), prompt="student-program", scored="refined"
    ),
    "pad-with-verification": Wired(answers=trained("pad-without-refinement"), prompt="student-program"),
    # MAPD: pairs about the mistakes of a trained student, which is trained further.
    "mapd": Wired(base=trained("fine-tune-cot-diverse"), answers=trained("mapd"), prompt="student-as-written"),
}


@pytest.mark.parametrize("recipe", WIRED)
def test_each_recipe_is_fed_by_the_producers_that_its_meaning_names(workspace, recipe):
    expected, wildcards = WIRED[recipe], job(recipe)
    assert prediction_inputs.answering_manifest(workspace, wildcards) == expected.answers
    assert prediction_inputs.student_prompt(workspace, wildcards).prompt == expected.prompt
    assert (
        prediction_inputs.final_predictions(workspace, wildcards)
        == f"results/{expected.scored}/arithmetic/test/miniature/{recipe}/{STUDENT}/seed7/predictions.jsonl"
    )
    if not workspace.recipe(recipe, "miniature").trained:
        return
    sources = [expected.rows[name] for name in sorted(expected.rows)]
    assert training_inputs.source_completions(workspace, wildcards) == [
        f"results/completions/{source}/completions.jsonl" for source in sources
    ]
    assert training_inputs.source_verdicts(workspace, wildcards) == [
        f"results/verdicts/{source}/verdicts.jsonl" for source in sources
    ]
    assert training_inputs.training_base(workspace, wildcards) == expected.base
    assert training_inputs.soft_label_manifest(workspace, wildcards) == expected.soft_labels
    labels = f"results/soft_labels/arithmetic/miniature/{recipe}/{STUDENT}/seed7/labels.arrow"
    assert training_inputs.soft_label_file(workspace, wildcards) == (labels if expected.soft_labels else NOTHING)
    assert training_inputs.mentor_beside(workspace, wildcards) == NOTHING
    assert (recipe in training_inputs.soft_label_recipes(workspace)) == bool(expected.soft_labels)
    assert training_inputs.tokenizer_checks(workspace, wildcards) == expected.checks


def test_a_source_is_read_by_the_prompt_that_it_was_sampled_with(workspace):
    prompts = training_inputs.source_prompts(workspace, job("mentor-kd"))
    assert {name: prompt["prompt"] for name, prompt in prompts.items()} == {
        "teacher": "few-shot-cot",
        "mentor": "student-cot",
    }
    assert prediction_inputs.repair_prompt(workspace, job("pad"))["prompt"] == "repair-program"
    assert prediction_inputs.repair_prompt(workspace, job("pad-without-refinement")) is None
    assert prediction_inputs.refinement_settings(workspace, job("pad"))["prompt"]["prompt"] == "repair-program"
    assert prediction_inputs.student_reading(workspace, job("pad"))["form"] == "program"
    assert prediction_inputs.student_reading(workspace, job("fine-tune-cot"))["form"] == "text"


def test_another_setup_has_its_own_teachers_mentor_and_committee(workspace):
    where = job("mentor-kd", "other")
    assert training_inputs.source_completions(workspace, where) == [
        "results/completions/arithmetic/train/mentor/other/mentor-sft/smollm2-135m-third/seed7/completions.jsonl",
        "results/completions/arithmetic/train/other-teacher/completions.jsonl",
    ]
    assert training_inputs.soft_label_manifest(workspace, where) == trained("mentor-sft", "smollm2-135m-third", "other")
    assert (
        training_inputs.source_verdicts(workspace, job("pad", "other"))
        == ["results/verdicts/arithmetic/train/other-programs/verdicts.jsonl"] * 2
    )
    assert committee_inputs.committee_wildcards(workspace, job("mapd", "other")).committee == "other-committee"


def test_completions_are_sampled_from_the_trained_mentor_the_untrained_student_or_the_samplers_own_model(workspace):
    mentor = job("mentor-sft", model="smollm2-135m", sampler="mentor")
    assert source_inputs.sampled_manifest(workspace, mentor) == MENTOR_SFT
    untrained = SimpleNamespace(task="arithmetic", split="train", sampler="student-answers", model=STUDENT)
    assert source_inputs.sampled_manifest(workspace, untrained) == BASE
    teacher = SimpleNamespace(task="arithmetic", split="train", sampler="smollm2-few-shot")
    assert source_inputs.sampled_manifest(workspace, teacher) == "results/base_models/smollm2-135m/manifest.json"
    assert source_inputs.parent_manifest(workspace, untrained) == "results/base_models/smollm2-135m/manifest.json"


AFTER = f"miniature/fine-tune-cot-diverse/{STUDENT}/seed7"
FOLDER = f"results/committees/arithmetic/miniature/{AFTER}"
OTHER_FOLDER = f"results/committees/arithmetic/other-committee/{STUDENT}"


def committee_job(committee: str, student: str, **others: str) -> SimpleNamespace:
    return SimpleNamespace(task="arithmetic", committee=committee, student=student, **others)


def test_pairs_are_about_the_mistakes_of_the_student_that_is_trained_further(workspace):
    where = committee_inputs.committee_wildcards(workspace, job("mapd"))
    assert where == committee_job("miniature", AFTER)
    assert committee_inputs.mistakes(workspace, where) == f"{FOLDER}/mistakes.jsonl"
    answers = f"arithmetic/train/student-answers/{AFTER}"
    assert committee_inputs.student_completions(workspace, where) == f"results/completions/{answers}/completions.jsonl"
    assert committee_inputs.student_verdicts(workspace, where) == f"results/verdicts/{answers}/verdicts.jsonl"
    released = committee_inputs.committee_wildcards(workspace, job("mapd", "svamp-released"))
    assert (released.committee, released.student) == ("svamp-released", "released")
    assert committee_inputs.all_rationales(workspace, released) == [
        "results/committees/arithmetic/svamp-released/released/members/released/rationales.jsonl"
    ]


def test_reviewers_wait_for_the_gate_only_where_the_committee_has_one(workspace):
    gated, open_ = committee_job("miniature", AFTER), committee_job("other-committee", STUDENT)
    assert committee_inputs.gate_verdicts(workspace, gated) == f"{FOLDER}/verdicts.jsonl"
    assert committee_inputs.gate_verdicts(workspace, open_) == NOTHING
    assert committee_inputs.reference_questions(workspace, gated) == NOTHING
    assert committee_inputs.reference_questions(workspace, open_) == "results/questions/arithmetic/train.jsonl"


def test_each_model_of_a_committee_is_asked_for_its_own_members_only(workspace):
    def members(model: str) -> SimpleNamespace:
        return committee_job("other-committee", STUDENT, member=model)

    teachers = committee_inputs.teachers_of_member(workspace, members("smollm2-135m"))
    assert {name: settings["rationale"]["prompt"]["prompt"] for name, settings in teachers.items()} == {
        "fixed": "few-shot-cot-first",
        "similar": "few-shot-cot",
    }
    assert teachers["similar"]["feedback"]["decoding"]["max_new_tokens"] == 40
    assert list(committee_inputs.teachers_of_member(workspace, members("smollm2-135m-third"))) == ["brief"]
    reviewers = committee_inputs.reviewers_of_member(workspace, members("smollm2-135m-third"))
    assert {name: prompt["prompt"] for name, prompt in reviewers.items()} == {"brief": "review-verdict"}


def test_reviews_come_from_every_model_and_from_people_whose_sheet_is_named(workspace):
    where = committee_job("other-committee", STUDENT)
    assert committee_inputs.all_reviews(workspace, where) == [
        f"{OTHER_FOLDER}/members/smollm2-135m/reviews.jsonl",
        f"{OTHER_FOLDER}/members/smollm2-135m-third/reviews.jsonl",
        f"{OTHER_FOLDER}/people/anna/reviews.jsonl",
    ]
    assert committee_inputs.routing(workspace, where)["fixed"] == ["similar", "brief", "anna"]
    of_bert = committee_job("other-committee", STUDENT, person="bert")
    assert committee_inputs.routing(workspace, of_bert)["fixed"] == ["similar", "brief", "anna", "bert"]
    anna = committee_job("other-committee", f"other/mapd/{STUDENT}/seed1", person="anna")
    assert committee_inputs.filled_sheet(workspace, anna) == f"arithmetic-other-mapd-{STUDENT}-seed1.csv"
    with pytest.raises(UserError, match=r"other-committee\.yaml: people\.bert\.sheet"):
        committee_inputs.filled_sheet(workspace, of_bert)


def test_layers_are_chosen_on_train_questions_of_the_task_that_is_named(workspace):
    chosen, plain = job("pad", model="chosen"), job("pad")
    assert source_inputs.parent_manifest(workspace, chosen) == "results/base_models/smollm2-135m/manifest.json"
    assert source_inputs.influence_questions(workspace, chosen) == "results/questions/dates/train.jsonl"
    assert source_inputs.influence_exemplars(workspace, chosen) == "results/questions/dates/exemplars.jsonl"
    assert source_inputs.influence_prompt(workspace, chosen)["prompt"] == "student-cot"
    assert source_inputs.influence_questions(workspace, plain) == NOTHING
    assert source_inputs.influence_prompt(workspace, plain) is None


@pytest.mark.parametrize(
    ("settings", "kept", "beside"),
    [
        ({"soft_labels": "top-k", "k": 9}, {"form": "top-k", "k": 9}, NOTHING),
        ({"soft_labels": "online"}, None, MENTOR_SFT),
        ({"mask": "repo-compat"}, None, MENTOR_SFT),
        ({"lambda": 0.0}, None, NOTHING),
        ({"lambda": 0.9, "temperature": 5.0}, {"form": "exact", "k": None}, NOTHING),
    ],
    ids=str,
)
def test_the_mentor_reads_the_rows_before_or_runs_beside_the_student_or_not_at_all(tmp_path, settings, kept, beside):
    config = shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    recipe = yaml.safe_load((config / "recipes/mentor-kd.yaml").read_text())
    recipe["objective"] |= settings
    (config / "recipes/mentor-kd.yaml").write_text(yaml.safe_dump(recipe))
    changed, where = load_workspace({"experiments": ["miniature"]}, config), job("mentor-kd")
    assert training_inputs.mentor_beside(changed, where) == beside
    stored = training_inputs.soft_label_file(changed, where)
    assert bool(stored) == (kept is not None)
    if kept is not None:
        assert training_inputs.soft_label_settings(changed, where) == kept
        assert training_inputs.training_precision(changed, where) == "bf16"


@pytest.mark.parametrize(
    ("updates", "made", "counted"),
    [
        ({}, None, [f"results/rows/arithmetic/miniature/mentor-kd/{STUDENT}/seed7/rows.jsonl"]),
        ({"mentor-kd": 50}, 50, []),
        ({"fine-tune-cot": 50}, None, [f"results/rows/arithmetic/miniature/mentor-kd/{STUDENT}/seed7/rows.jsonl"]),
    ],
    ids=str,
)
def test_a_control_makes_the_updates_of_its_recipe_which_its_rows_say_or_its_settings(tmp_path, updates, made, counted):
    config = shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    setups = yaml.safe_load((config / "setups.yaml").read_text())
    setups["miniature"]["train"].pop("updates", None)
    setups["miniature"]["recipes"] |= {name: {"train": {"updates": number}} for name, number in updates.items()}
    (config / "setups.yaml").write_text(yaml.safe_dump(setups, sort_keys=False))
    changed, where = load_workspace({"experiments": ["miniature"]}, config), job("fine-tune-cot-matched")
    assert as_list(training_inputs.matched_rows(changed, where)) == counted
    assert training_inputs.training_settings(changed, where)["updates"] == made


def test_students_that_others_wait_for_are_trained_first(workspace):
    first = {name for name in WIRED if training_inputs.training_priority(workspace, job(name)) == 20}
    assert first == {"fine-tune-cot-diverse", "pad-without-refinement"}
    assert training_inputs.training_priority(workspace, job("fine-tune-cot-diverse", "svamp-released")) == 20


REVIEWS = [f"{FOLDER}/members/smollm2-135m/reviews.jsonl"]
PAIRS = {
    # recipe: reviews that it reads, teacher of its pairs, whether it copies the size of another recipe's pairs
    "mapd": (REVIEWS, None, False),
    "mapd-review-and-check": (REVIEWS, None, False),
    "mapd-single": (NOTHING, "similar", False),
    "mapd-without-review": (NOTHING, None, False),
    "mapd-answer-check": (NOTHING, None, False),
    "mapd-random-drop": (REVIEWS, None, True),
}


@pytest.mark.parametrize("recipe", PAIRS)
def test_pairs_read_reviews_only_where_reviews_decide(workspace, recipe):
    reviews, teacher, matched = PAIRS[recipe]
    assert committee_inputs.reviews_used(workspace, job(recipe)) == reviews
    assert committee_inputs.pair_settings(workspace, job(recipe))["teacher"] == teacher
    rule = committee_inputs.size_matched_rule(workspace, job(recipe))
    assert rule == (committee_inputs.acceptance_rule(workspace, job("mapd")) if matched else None)


def test_a_cell_has_the_scores_of_its_own_arm_and_the_costs_of_the_training_that_it_uses(workspace):
    cells = {
        cell["recipe"]: cell
        for cell in table_cells.table_cells(workspace, SimpleNamespace(experiment="miniature_ablations"))
    }
    pad = f"arithmetic/test/miniature/pad/{STUDENT}/seed1"
    assert cells["pad"]["scores"] == f"results/scores/{pad}/scores.json"
    assert cells["pad"]["predictions"] == f"results/scores/{pad}/graded.jsonl"
    search = cells["pad-with-verification.scorer=none"]
    costs = [
        f"results/{kind}/arithmetic/miniature/pad-without-refinement/{STUDENT}/seed1" for kind in ("rows", "models")
    ]
    assert search["costs"] == [f"{path}/summary.json" for path in costs]
    assert cells["mapd"]["note"] and cells["mapd-single"]["note"] is None
    prompting = table_cells.table_cells(workspace, SimpleNamespace(experiment="miniature"))[0]
    assert (prompting["recipe"], prompting["costs"]) == ("zero-shot", [])
    refined = table_cells.refined_cells(workspace, SimpleNamespace(experiment="miniature_ablations"))
    assert refined == {f"results/scores/{pad}/scores.json": f"results/refined/{pad}/rounds.jsonl"}


def test_a_table_on_dev_takes_nothing_from_test(workspace):
    on_dev = SimpleNamespace(experiment="on_dev")
    cells = table_cells.table_cells(workspace, on_dev)
    files = [cell[key] for cell in cells for key in ("scores", "predictions", "questions")]
    files += [path for pair in table_cells.refined_cells(workspace, on_dev).items() for path in pair]
    assert len(files) > len(cells)
    assert [path for path in files if "/dev" not in path or "/test" in path] == []
    asked = table_cells.cell_questions(workspace, on_dev)  # the most frequent answer is counted on train questions
    assert asked == [f"results/questions/arithmetic/{split}.jsonl" for split in ("dev", "train")]


def test_a_table_reads_the_train_questions_for_the_majority_answer_only(workspace):
    for majority, expected in ((True, ["test", "train"]), (False, [])):
        experiment = workspace.experiments["miniature"].model_copy(update={"majority_answer": majority, "parts": {}})
        known = replace(workspace, experiments={"miniature": experiment})
        files = table_cells.cell_questions(known, SimpleNamespace(experiment="miniature"))
        assert files == [f"results/questions/arithmetic/{split}.jsonl" for split in expected]


def test_a_student_is_audited_once_by_the_first_recipe_that_uses_its_reviews(workspace):
    assert table_cells.audits(workspace, ["miniature", "miniature_ablations"]) == [
        f"results/audits/arithmetic/miniature/mapd/{STUDENT}/seed1/audit.html"
    ]
    assert table_cells.audits(workspace, ["pad_sweeps"]) == []


def test_an_unknown_table_lists_the_known_ones_closest_first(workspace):
    for question in (table_cells.table_cells, table_cells.unknown_table):
        with pytest.raises(UserError, match=r"closest first: pad_sweeps, ") as refused:
            question(workspace, SimpleNamespace(experiment="pad_sweep", unknown="pad_sweep"))
        assert "miniature_ablations" in str(refused.value)


def test_no_rule_writes_a_path_of_the_table_again():
    patterns = {
        fill(pattern, **{name: f"{{{name}}}" for name in WILDCARDS}, whose="{whose}") for pattern in PATHS.values()
    }
    folders = {pattern for pattern in patterns if pattern.startswith("results/")} | {"{setup}/{recipe}/{model}"}
    for file in sorted((REPOSITORY / "workflow/rules").glob("*.smk")):
        code = re.sub(r"^\s*#.*$", "", file.read_text(), flags=re.MULTILINE)
        assert [pattern for pattern in sorted(folders) if pattern in code] == [], file.name
        assert '"results/' not in code, file.name


WILDCARDS = (
    *("task", "split", "sampler", "setup", "recipe", "model", "seed", "committee", "student", "member", "person"),
    *("experiment",),
)


def test_the_patterns_use_the_plain_wildcards_and_no_pattern_has_a_wildcards_name():
    used = set(re.findall(r"\{(\w+)\}", "".join(PATHS.values())))
    assert used == set(WILDCARDS)
    assert not used & set(PATHS)
