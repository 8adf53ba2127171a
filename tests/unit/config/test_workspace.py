"""What is declared is checked before anything runs, and a fault is told with file, key, value and remedy."""

from pathlib import Path

import pytest
import yaml

from distillery.config import schemas
from distillery.errors import UserError
from distillery.registry import REGISTRY, load_workspace

REPOSITORY = Path(__file__).parents[3]


def edit(path: Path, key: str, value: object) -> None:
    """Set a dotted key of a YAML file; None removes it."""
    content = yaml.safe_load(path.read_text())
    inner = content
    *parents, last = key.split(".")
    for part in parents:
        inner = inner[part]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    path.write_text(yaml.safe_dump(content))


def test_every_shipped_file_is_valid_and_every_shipped_setting_too():
    for settings in ("config.yaml", "small.yaml"):
        workspace = load_workspace(
            yaml.safe_load((REPOSITORY / "config" / settings).read_text()), REPOSITORY / "config"
        )
        for experiment in workspace.experiments:
            assert list(workspace.cells(experiment))


FAULTS = {
    "unknown key": ("recipes/mentor-kd.yaml", "train.learnin_rate", 1, ["no such key", "learning_rate"]),
    "unknown section key": (
        "samplers/mentor.yaml",
        "decoding.temprature",
        1,
        ["temprature", "Did you mean `temperature`"],
    ),
    "wrong type": ("recipes/fine-tune.yaml", "train.epochs", "many", ["train.epochs", "'many'"]),
    "out of bounds": ("recipes/mentor-kd.yaml", "objective.lambda", 1.5, ["lambda", "1.5"]),
    "unknown loss": ("recipes/mentor-kd.yaml", "objective.loss", "hinge", ["objective.loss", "'hinge'", "two-task"]),
    "a loss that is no name": ("recipes/mentor-kd.yaml", "objective.loss", {"a": 1}, ["objective.loss", "two-task"]),
    "unknown generator": ("tasks/arithmetic.yaml", "source.generator", "sums", ["'sums'", "coin_flip"]),
    "unknown source of rows": ("recipes/fine-tune.yaml", "rows.gold.from", "silver", ["'silver'", "programs"]),
    "needed key left out": ("tasks/arithmetic.yaml", "answer", None, ["answer", "needed"]),
    "name is not the file's": ("prompts/student-cot.yaml", "prompt", "other", ["'other'", "student-cot"]),
    "unknown model of a sampler": ("samplers/smollm2-few-shot.yaml", "model", "gpt-9", ["gpt-9", "smollm2-135m"]),
    "unknown prompt of a recipe": ("recipes/fine-tune.yaml", "predict.prompt", "nope", ["nope", "predict.prompt"]),
    "arms of one title": (
        "experiments/miniature.yaml",
        "arms",
        [{"recipe": "fine-tune-cot"}, {"recipe": "fine-tune-cot", "set": {"train.epochs": 9}}],
        ["one title", "arms.1.title", "title of its own"],
    ),
    "unknown recipe of an arm": ("experiments/miniature.yaml", "arms", [{"recipe": "nope"}], ["nope", "mentor-kd"]),
    "unknown task of an experiment": ("experiments/miniature.yaml", "tasks", ["nope"], ["nope", "arithmetic"]),
    "unknown student": ("experiments/miniature.yaml", "students", ["nope"], ["nope", "smollm2-135m-26-layers"]),
    "unknown parent": ("models.yaml", "smollm2-135m-26-layers.parent", "nope", ["nope", "parent"]),
    "missing revision": (
        "models.yaml",
        "smollm2-135m",
        {"kind": "hub", "id": "someone/something"},
        ["smollm2-135m.revision", "needed"],
    ),
    "branch instead of a revision": (
        "models.yaml",
        "smollm2-135m",
        {"kind": "hub", "id": "someone/something", "revision": "main"},
        ["revision", "'main'"],
    ),
    "greedy and several samples": (
        "samplers/smollm2-few-shot.yaml",
        "decoding.temperature",
        0,
        ["greedy", "samples: 1"],
    ),
    "more rationales than are sampled": ("recipes/fine-tune-cot.yaml", "rows.teacher.degree", 64, ["64", "2"]),
    "student without a target": ("recipes/fine-tune.yaml", "predict.prompt", "zero-shot", ["target", "zero-shot"]),
    "student with a chat template": ("prompts/student-cot.yaml", "chat", True, ["chat template", "student-cot"]),
    "a mentor's recipe with a mentor": ("recipes/mentor-kd.yaml", "mentor.trained_by", "mentor-kd", ["trained_by"]),
    "setup without a teacher": ("setups.yaml", "miniature.teacher", None, ["miniature.teacher", "teacher"]),
    "setup without a mentor": ("setups.yaml", "miniature.mentor", None, ["miniature.mentor", "mentor"]),
    "mentor of another architecture": (
        "models.yaml",
        "smollm2-135m.architecture",
        "encoder-decoder",
        ["one vocabulary", "encoder-decoder"],
    ),
    "too few exemplars": ("tasks/arithmetic.yaml", "exemplars.count", 2, ["exemplars", "has 2"]),
    "recipes in a circle": ("recipes/fine-tune-cot.yaml", "extends", "fine-tune-cot-diverse", ["circle"]),
}


@pytest.mark.parametrize(("file", "key", "value", "words"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_refused_with_file_key_value_and_remedy(config, file, key, value, words):
    edit(config / file, key, value)
    with pytest.raises(UserError) as told:
        load_workspace({"experiments": ["miniature"]}, config)
    assert all(".yaml:" in line for line in str(told.value).splitlines())
    for word in words:
        assert word in str(told.value)


def test_all_faults_are_told_at_once(config):
    edit(config / "recipes/fine-tune.yaml", "train.epochs", 0)
    edit(config / "samplers/mentor.yaml", "samples", 0)
    with pytest.raises(UserError) as told:
        load_workspace({"experiments": ["miniature"]}, config)
    assert "train.epochs" in str(told.value) and "samples" in str(told.value)


def test_a_key_given_twice_is_refused(config):
    path = config / "recipes/fine-tune.yaml"
    path.write_text(path.read_text() + "title: Again\n")
    with pytest.raises(UserError, match="twice"):
        load_workspace({"experiments": ["miniature"]}, config)


@pytest.mark.parametrize(
    ("settings", "words"),
    {
        "unknown experiment": ({"experiments": ["nope"]}, ["nope", "miniature"]),
        "unknown setting": ({"experiments": ["miniature"], "cores": 2}, ["cores", "no such key"]),
        "override of nothing": ({"experiments": ["miniature"], "overrides": {"tasks.nope.sizes": 1}}, ["tasks.nope"]),
        "override with an unknown key": (
            {"experiments": ["miniature"], "overrides": {"tasks.arithmetic.sizes.trian": 1}},
            ["sizes.trian", "train"],
        ),
    }.values(),
)
def test_a_fault_in_the_run_is_refused(settings, words):
    with pytest.raises(UserError) as told:
        load_workspace(settings, REPOSITORY / "config")
    for word in words:
        assert word in str(told.value)


def test_a_sweep_gives_each_variant_its_own_name_and_the_plain_recipe_keeps_its_own(config):
    arms = [{"recipe": "mentor-kd", "sweep": {"objective.lambda": [0.1, 0.5]}}, {"recipe": "mentor-kd"}]
    edit(config / "experiments/miniature_ablations.yaml", "arms", arms)
    edit(config / "experiments/miniature_ablations.yaml", "baseline", None)
    workspace = load_workspace({"experiments": ["miniature"]}, config)
    cells = list(workspace.cells("miniature_ablations"))
    assert [cell.recipe for cell in cells] == ["mentor-kd.lambda=0.1", "mentor-kd.lambda=0.5", "mentor-kd"]
    assert workspace.recipe("mentor-kd.lambda=0.5", "miniature").objective.weight == 0.5
    assert [cell.swept for cell in cells] == [{"objective.lambda": 0.1}, {"objective.lambda": 0.5}, {}]


def test_settings_are_laid_over_each_other_recipe_then_setup_then_arm(config):
    edit(config / "setups.yaml", "miniature.recipes.fine-tune-cot", {"train": {"epochs": 7}})
    arms = [
        {"recipe": "fine-tune-cot"},
        {"recipe": "fine-tune-cot", "set": {"train.batch_size": 2}, "title": "Small batches"},
        {"recipe": "fine-tune"},
    ]
    edit(config / "experiments/miniature.yaml", "arms", arms)
    edit(config / "experiments/miniature.yaml", "baseline", "fine-tune")
    workspace = load_workspace({"experiments": ["miniature"]}, config)
    plain, changed, other = (workspace.recipe(cell.recipe, "miniature").train for cell in workspace.cells("miniature"))
    setup = yaml.safe_load((config / "setups.yaml").read_text())["miniature"]["train"]
    assert (plain.epochs, plain.batch_size) == (7, setup["batch_size"])
    assert (changed.epochs, changed.batch_size) == (7, 2)
    assert other.updates == setup["updates"]


def test_an_ablation_drops_what_it_names_and_keeps_the_rest():
    workspace = load_workspace({"experiments": ["miniature"]}, REPOSITORY / "config")
    whole, without = (workspace.recipe(name, "miniature") for name in ("mentor-kd", "mentor-kd-without-augmentation"))
    assert set(whole.rows) == {"teacher", "mentor"} and set(without.rows) == {"teacher"}
    assert without.objective == whole.objective and without.train == whole.train


def test_a_key_that_a_recipe_drops_stays_dropped_in_what_extends_it(config):
    """`mentor-sft` extends `fine-tune-cot-diverse`, which drops the degree of `fine-tune-cot`."""
    workspace = load_workspace({"experiments": ["miniature"]}, config)
    degrees = [workspace.recipe(name, "miniature").rows["teacher"].degree for name in ("fine-tune-cot", "mentor-sft")]
    assert degrees == [1, None]


def test_schemas_and_key_tables_are_those_of_the_models():
    """On failure: `make schemas`."""
    for name, text in schemas.schemas(REGISTRY).items():
        assert (REPOSITORY / "workflow/schemas" / name).read_text() == text, name
    readme = (REPOSITORY / "config/README.md").read_text()
    assert schemas.readme_with_keys(readme, REGISTRY) == readme


def test_the_how_tos_setup_of_codet5_takes_every_recipe_of_pad(config):
    guide = (REPOSITORY / "docs/how-to.md").read_text().split("## Take CodeT5")[1]
    setup = yaml.safe_load(guide.split("```yaml")[1].split("```")[0])
    setup["codet5"]["program_teacher"] = "smollm2-few-shot-program"
    edit(config / "setups.yaml", "codet5", setup["codet5"])
    table = {"experiment": "codet5", "title": "CodeT5", "setup": "codet5", "tasks": ["arithmetic"]}
    table |= {"students": ["codet5-small"], "arms": [{"recipe": name} for name in setup["codet5"]["recipes"]]}
    (config / "experiments/codet5.yaml").write_text(yaml.safe_dump(table))
    workspace = load_workspace({"experiments": ["codet5"]}, config)
    prompts = {workspace.recipe(cell.recipe, "codet5").predict.prompt for cell in workspace.cells("codet5")}
    assert prompts == {"t5-program"} and len(list(workspace.cells("codet5"))) == 3
