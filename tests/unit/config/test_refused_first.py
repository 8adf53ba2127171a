"""What a later stage would refuse because of the settings is refused before the first job."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from distillery.cli import app
from distillery.config.checks import DATA_FILES
from distillery.config.workspace import DEFAULT_GRADERS as GRADER_NAMES
from distillery.errors import UserError, UserErrors
from distillery.registry import load_workspace
from distillery.tasks.local_files import _READERS
from distillery.verification.graders import DEFAULT_GRADERS

REPOSITORY = Path(__file__).parents[3]
TABLE, TASK, COMMITTEE = "experiments/miniature.yaml", "tasks/arithmetic.yaml", "committees/miniature.yaml"
WRITTEN = [{"question": f"{n}?", "rationale": "r", "gold": "1", "program": "p"} for n in range(60)]
WITHOUT = [{key: text for key, text in exemplar.items() if key != "program"} for exemplar in WRITTEN]
CUT, CHOSEN = {"kind": "pruned", "parent": "smollm2-135m"}, {"layers": 2, "task": "arithmetic", "prompt": "student-cot"}
API = {"kind": "api", "id": "big-2026"}


def changed(config: Path, file: str, keys: str, value: object) -> None:
    """Set a key of a YAML file; a number in the path is a place in a list, `+` its end."""
    content = yaml.safe_load((config / file).read_text()) or {}
    inner = content
    *above, last = keys.split("/")
    for key in above:
        inner = inner[int(key)] if isinstance(inner, list) else inner.setdefault(key, {})
    if last == "+":
        inner.append(value)
    elif isinstance(inner, list):
        inner[int(last)] = value
    else:
        inner[last] = value
    (config / file).write_text(yaml.safe_dump(content, sort_keys=False))


def arm(recipe: str, title: str = "Added", **settings: object) -> tuple[str, str, object]:
    return TABLE, "arms/+", {"recipe": recipe, "title": title, **settings}


def number(task: str, recipe: str, model: str) -> dict[str, object]:
    return {"task": task, "recipe": recipe, "model": model, "accuracy": 50, "source": "Table 1"}


Change = tuple[str, str, object]
FAULTS: dict[str, tuple[list[Change], str, list[str]]] = {
    # fault: changes, file of the message, words of the message
    # evaluation
    "a baseline without an arm": ([(TABLE, "baseline", "mentor-sft2")], TABLE, ["baseline", "mentor-sft2", "no arm"]),
    "a figure over what is not swept": (
        [arm("mapd", sweep={"objective.alpha": [0.0]}), (TABLE, "figure", {"over": "pairs.round"})],
        TABLE,
        ["figure.over", "pairs.round", "objective.alpha"],
    ),
    "a published number of no task": (
        [(TABLE, "published", [number("dates", "mapd", "smollm2-135m-26-layers")])],
        TABLE,
        ["published.0.task", "dates", "arithmetic"],
    ),
    "a published number of no recipe": (
        [(TABLE, "published", [number("arithmetic", "mapd.alpha=1", "smollm2-135m-26-layers")])],
        TABLE,
        ["published.0.recipe", "mapd.alpha=1"],
    ),
    "a published number of another arm's model": (
        [(TABLE, "published", [number("arithmetic", "mapd", "smollm2-135m")])],
        TABLE,
        ["published.0.model", "smollm2-135m-26-layers"],
    ),
    "two published numbers of a cell": (
        [(TABLE, "published", [number("arithmetic", "mapd", "smollm2-135m-26-layers")] * 2)],
        TABLE,
        ["published.1.accuracy", "second"],
    ),
    "a seed twice": ([(TABLE, "seeds", [1, 1])], TABLE, ["seeds", "1 is given twice"]),
    "a negative seed": ([(TABLE, "seeds", [1, -2])], TABLE, ["seeds.1", "-2"]),
    "a seed that no library takes": ([(TABLE, "seeds", [2**32])], TABLE, ["seeds.0"]),
    "a task twice": ([(TABLE, "tasks", ["arithmetic", "arithmetic"])], TABLE, ["tasks", "given twice"]),
    "a student twice": ([(TABLE, "students", ["smollm2-135m", "smollm2-135m"])], TABLE, ["students", "twice"]),
    "an arm twice": ([arm("mapd", title="Again")], TABLE, ["arms.10", "are the same"]),
    "a setting set and swept": (
        [arm("mapd", set={"objective.alpha": 1}, sweep={"objective.alpha": [0]})],
        TABLE,
        ["both set and swept"],
    ),
    "a setting in another": (
        [arm("mapd", set={"train.lora": {"rank": 2}, "train": {"lora": {"rank": 4}}})],
        TABLE,
        ["twice"],
    ),
    "a sweep of nothing": ([arm("mapd", sweep={"objective.alpha": []})], TABLE, ["sweep.objective.alpha"]),
    # graders
    "a table's grader": ([(TABLE, "grader", "strict")], TABLE, ["grader", "strict", "paper, robust"]),
    "a grader of rows": (
        [("recipes/fine-tune-cot.yaml", "rows/teacher/grader", "strict")],
        "recipes/fine-tune-cot.yaml",
        ["rows.teacher.grader"],
    ),
    "a grader of mistakes": ([(COMMITTEE, "student_answers/grader", "strict")], COMMITTEE, ["student_answers.grader"]),
    "a grader of rationales": (
        [arm("mapd", set={"pairs.accept.grader": "strict"}), (COMMITTEE, "review/gate", "none")],
        TABLE,
        ["pairs.accept.grader", "strict"],
    ),
    "a grader in front of reviews": (
        [(COMMITTEE, "review/grader", "strict")],
        COMMITTEE,
        ["review.grader"],
    ),
    # exemplars and tasks
    "exemplars without programs": ([(TASK, "exemplars", {"written": WITHOUT})], TASK, ["few-shot-program", "has none"]),
    "too few exemplars": ([(TASK, "exemplars", {"written": WRITTEN[:2]})], TASK, ["exemplars", "the task has 2"]),
    "generated exemplars of files": (
        [("tasks/gsm8k.yaml", "exemplars", {"count": 3})],
        "tasks/gsm8k.yaml",
        ["exemplars.count", "written"],
    ),
    "a generator without an end": ([(TASK, "sizes", {"train": 9})], TASK, ["sizes.test", "no end"]),
    "a data file of another kind": (
        [("tasks/svamp_released.yaml", "source/files/all", "a.txt")],
        "tasks/svamp_released.yaml",
        ["a.txt", ".jsonl"],
    ),
    # templates
    "a prompt that is no template": (
        [("prompts/student-cot.yaml", "input", "Q: {{ question")],
        "prompts/student-cot.yaml",
        ["input", "template"],
    ),
    "a prompt with an unknown field": (
        [("prompts/review-brief.yaml", "input", "{{ question }} {{ rational }}")],
        "prompts/review-brief.yaml",
        ["input", "rational,", "hint, question, rationale"],
    ),
    "a target with an unknown field": (
        [("prompts/student-cot.yaml", "target", "{{ hint }}")],
        "prompts/student-cot.yaml",
        ["target", "hint"],
    ),
    "a task that is no template": ([(TASK, "gold", "{% if %}")], TASK, ["gold", "not a valid template"]),
    # training
    "nothing held out": ([arm("fine-tune", set={"train.held_out": 0.0001})], TABLE, ["train.held_out", "0.0001"]),
    "updates of an untrained recipe": (
        [arm("fine-tune", set={"train.match_updates_of": "zero-shot"})],
        TABLE,
        ["match_updates_of", "trains no student"],
    ),
    "a control with another number of updates": (
        [arm("fine-tune", set={"train.match_updates_of": "fine-tune-cot", "train.updates": 7})],
        TABLE,
        ["train.updates = 7", "as many updates as fine-tune-cot"],
    ),
    "updates of no recipe": ([arm("fine-tune", set={"train.match_updates_of": "no"})], TABLE, ["no such recipe"]),
    "students of an untrained recipe": ([arm("zero-shot", set={"weights_of": "few-shot-cot"})], TABLE, ["trains no"]),
    "students of no recipe": ([arm("zero-shot", set={"weights_of": "no"})], TABLE, ["weights_of", "no such recipe"]),
    "published padding for an encoder-decoder": (
        [arm("mapd", set={"objective.mask_padding": False}, models=["codet5-small"])],
        TABLE,
        ["two-task", "codet5-small"],
    ),
    # models
    "an endpoint as a student": (
        [("models.yaml", "hosted", API), arm("fine-tune", models=["hosted"])],
        TABLE,
        ["arms.10.models", "endpoint"],
    ),
    "an endpoint as a mentor": (
        [("models.yaml", "hosted", API), arm("mentor-kd", set={"mentor.model": "hosted"})],
        TABLE,
        ["mentor.model", "endpoint"],
    ),
    "a pruned encoder-decoder": (
        [("models.yaml", "cut", {"kind": "pruned", "parent": "codet5-small"})],
        "models.yaml",
        ["cut.parent", "causal"],
    ),
    "layers chosen on no task": (
        [("models.yaml", "cut", {**CUT, "drop_by_influence": {**CHOSEN, "task": "no"}})],
        "models.yaml",
        ["cut.drop_by_influence.task", "'no'", "arithmetic"],
    ),
    "layers chosen on a prompt without a target": (
        [("models.yaml", "cut", {**CUT, "drop_by_influence": {**CHOSEN, "prompt": "zero-shot"}})],
        "models.yaml",
        ["cut.drop_by_influence.prompt", "zero-shot", "student-cot"],
    ),
    "layers listed and counted": (
        [("models.yaml", "cut", {**CUT, "keep": [0], "drop_by_influence": CHOSEN})],
        "models.yaml",
        ["cut", "keep and drop_by_influence"],
    ),
    "a layer listed twice": ([("models.yaml", "cut", {**CUT, "drop": [3, 3]})], "models.yaml", ["cut.drop", "twice"]),
    # peer review
    "a reviewer without a weight": (
        [arm("mapd", set={"pairs.accept": {"aggregate": "weighted", "weights": {"fixed": 1.0}}})],
        TABLE,
        ["weights", "similar"],
    ),
    "expected scores of stated scores": (
        [arm("mapd", set={"pairs.accept.value": "expected"}), (COMMITTEE, "review/protocol", "paper")],
        TABLE,
        ["pairs.accept.value", "probabilities"],
    ),
    "a sheet of another kind": ([(COMMITTEE, "people", {"anna": {"sheet": "a.xlsx"}})], COMMITTEE, ["sheet", "a.xlsx"]),
    "a greedy review many times": ([(COMMITTEE, "review/samples", 3)], COMMITTEE, ["review", "greedy"]),
}


@pytest.mark.parametrize(("changes", "file", "words"), FAULTS.values(), ids=FAULTS)
def test_a_fault_that_a_stage_would_refuse_is_one_message(config, changes, file, words):
    for change in changes:
        changed(config, *change)
    with pytest.raises(UserErrors) as told:
        load_workspace({"experiments": ["miniature"]}, config)
    (error,) = told.value.errors
    assert str(error.file) == str(config / file) and error.line is not None
    for word in words:
        assert word in str(error)


def test_the_names_that_checks_know_are_those_of_the_stages():
    assert all(sorted(graders) == sorted(GRADER_NAMES) for graders in DEFAULT_GRADERS.values())
    assert sorted(_READERS) == sorted(DATA_FILES)


MISSING: dict[str, tuple[list[Change], list[str]]] = {
    "a data file": (
        [(TASK, "source", {"kind": "file", "files": {"train": "no.jsonl"}}), (TASK, "exemplars", {"written": WRITTEN})],
        ["source.files.train", "no.jsonl"],
    ),
    "a model's folder": (
        [("models.yaml", "smollm2-135m-26-layers", {"kind": "local", "path": "no"})],
        ["smollm2-135m-26-layers.path"],
    ),
    "a released exchange": ([(COMMITTEE, "", None)], ["released.folder", "data/nowhere"]),
    "a filled sheet": ([(COMMITTEE, "people", {"anna": {"sheet": "{task}-{student}.csv"}})], ["people.anna.sheet"]),
    "a teacher's key": (
        [
            ("models.yaml", "hosted", {**API, "key": "NO_SUCH_KEY_HERE"}),
            ("samplers/smollm2-few-shot.yaml", "model", "hosted"),
        ],
        ["hosted.key", "NO_SUCH_KEY_HERE"],
    ),
    "a reviewer's key": (
        [
            ("models.yaml", "hosted", {**API, "key": "NO_SUCH_KEY_HERE"}),
            (COMMITTEE, "reviewers", {"extra": {"model": "hosted", "family": "other"}}),
        ],
        ["hosted.key"],
    ),
}


@pytest.mark.parametrize(("changes", "words"), MISSING.values(), ids=MISSING)
def test_what_is_missing_here_is_refused_for_the_runs_own_experiments_alone(config, changes, words):
    table = {
        "experiment": "other",
        "title": "Other",
        "setup": "other",
        "tasks": ["coin_flip"],
        "arms": [{"recipe": "zero-shot"}],
    }
    table["students"] = ["smollm2-135m"]
    (config / "experiments/other.yaml").write_text(yaml.safe_dump(table))
    changed(config, "setups.yaml", "other", {})
    for file, keys, value in changes:
        if keys:
            changed(config, file, keys, value)
        else:
            content = {"committee": "miniature", "released": {"folder": "data/nowhere"}}
            (config / file).write_text(yaml.safe_dump(content))
            setups = (config / "setups.yaml").read_text()
            (config / "setups.yaml").write_text(setups.replace("after: fine-tune-cot-diverse", "round: 1"))
    with pytest.raises(UserErrors) as told:
        load_workspace({"experiments": ["miniature"]}, config)
    for word in words:
        assert word in str(told.value)
    workspace = load_workspace({"experiments": ["other"]}, config)
    assert "miniature" in workspace.not_runnable() and "other" not in workspace.not_runnable()


def test_check_names_what_is_not_runnable_here_and_why(config, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["check"])
    assert done.exit_code == 0
    said = done.output.partition("not runnable here: mapd_svamp_replay\n")[2].splitlines()
    assert "data/svamp/svamp.json" in said[0] and "config/tasks/svamp_released.yaml:11: source.files.all" in said[0]
    assert "data/mapd" in said[1]
    assert "not runnable here: miniature" not in done.output


def test_a_key_that_is_there_is_enough(config, monkeypatch):
    monkeypatch.setenv("A_KEY_OF_THIS_TEST", "x")
    changed(config, "models.yaml", "hosted", {**API, "key": "A_KEY_OF_THIS_TEST"})
    changed(config, "samplers/smollm2-few-shot.yaml", "model", "hosted")
    assert "miniature" not in load_workspace({"experiments": ["miniature"]}, config).not_runnable()


def test_settings_of_one_last_word_are_two_variants_and_both_take_effect(config):
    for added in ({"objective.alpha": 1}, {"train.lora.alpha": 1}, {"train": {"lora": {"alpha": 1}}}):
        changed(config, *arm("mapd", title=str(added), set=added))
    with pytest.raises(UserErrors, match="are the same"):
        load_workspace({"experiments": ["miniature"]}, config)
    changed(
        config,
        TABLE,
        "arms/12",
        {"recipe": "mapd", "title": "Both", "set": {"objective.alpha": 1, "train.lora.alpha": 1}},
    )
    workspace = load_workspace({"experiments": ["miniature"]}, config)
    found = [
        (recipe.objective.alpha, recipe.train.lora and recipe.train.lora.alpha)
        for cell in list(workspace.cells("miniature"))[-3:]
        for recipe in [workspace.recipe(cell.recipe, "miniature")]
    ]
    assert found == [(1, None), (0.5, 1), (1, 1)]


def test_lists_and_mappings_can_be_swept(config):
    sweep = {"rows.repair.inject": [["name_error"], ["name_error", "syntax_error"]], "train.lora": [None, {"rank": 8}]}
    changed(config, *arm("pad", sweep=sweep))
    workspace = load_workspace({"experiments": ["miniature"]}, config)
    recipes = [workspace.recipe(cell.recipe, "miniature") for cell in list(workspace.cells("miniature"))[-4:]]
    assert [(recipe.rows["repair"].inject, recipe.train.lora and recipe.train.lora.rank) for recipe in recipes] == [
        (inject, rank) for inject in sweep["rows.repair.inject"] for rank in (None, 8)
    ]
    assert len({recipe.recipe for recipe in recipes}) == 4


def test_what_is_taught_of_a_program_cannot_be_chosen(config):
    """A program is taken from the answer: thinking is no program."""
    changed(config, *arm("pad", set={"rows.repair.taught": "both"}))
    with pytest.raises(UserError, match="`taught` is for rationales of a model, not `from: programs`"):
        load_workspace({"experiments": ["miniature"]}, config)


def test_a_setting_of_the_recipes_own_value_is_a_variant_of_equal_content(config):
    changed(config, *arm("mapd", set={"objective.alpha": 0.5}))
    workspace = load_workspace({"experiments": ["miniature"]}, config)
    plain, same = (workspace.recipe(name, "miniature") for name in ("mapd", "mapd.alpha=0.5"))
    assert plain.model_copy(update={"recipe": same.recipe}) == same
