"""One fault in a declarative file gives one message, which names the file and line where it was typed."""

import random
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from distillery.errors import UserError, UserErrors
from distillery.registry import load_workspace

REPOSITORY = Path(__file__).parents[3]
FILES = sorted(path.relative_to(REPOSITORY / "config") for path in (REPOSITORY / "config").rglob("*.yaml"))
FREE = {"options"}
"""Sections whose keys are known to a generator alone."""


def leaves(node: yaml.MappingNode, free: bool = False):
    """Key and value node of every key with a plain value or a list, from what PyYAML says about places."""
    for key, value in node.value:
        if isinstance(value, yaml.MappingNode):
            yield from leaves(value, free or key.value in FREE)
        elif isinstance(value, yaml.SequenceNode) and any(isinstance(item, yaml.MappingNode) for item in value.value):
            for item in value.value:
                yield from leaves(item, free)
        elif not free:
            yield key, value


def typed(file: Path) -> tuple[str, list]:
    text = (REPOSITORY / "config" / file).read_text()
    return text, list({key.start_mark.index: (key, value) for key, value in leaves(yaml.compose(text))}.values())


LEAVES = [(file, number) for file in FILES for number in range(len(typed(file)[1]))]


def in_one_line(leaf) -> bool:
    """A list in lines of its own cannot be replaced by text in its place."""
    key, value = typed(leaf[0])[1][leaf[1]]
    return value.start_mark.line == key.start_mark.line


def misspelt(key: str, draw: random.Random) -> str:
    """The last word of a key with a letter too many, too few, or two in the wrong order."""
    start = max(key.rfind("."), key.rfind("_")) + 1
    place = draw.randrange(start, len(key))
    return draw.choice(
        [key[:place] + key[place] + key[place:], key[:place] + key[place + 1 :], key[:place] + "q" + key[place:]]
    )


def refused(config: Path, run: str = "config.yaml") -> list[UserError]:
    content = yaml.safe_load((config / run).read_text())
    with pytest.raises(UserErrors) as error:
        load_workspace(content, config, settings_file=str(config / run))
    return error.value.errors


@pytest.fixture(scope="module")
def shared_config(tmp_path_factory):
    """A copy of the shipped files, in which each example changes one file and puts it back."""
    return shutil.copytree(REPOSITORY / "config", tmp_path_factory.mktemp("shared") / "config")


def check(config: Path, file: Path, start: int, end: int, new: str, line: int) -> None:
    text = (config / file).read_text()
    (config / file).write_text(text[:start] + new + text[end:])
    try:
        run = str(file) if file.parent == Path() and file.stem in ("config", "small") else "config.yaml"
        found = refused(config, run)
    finally:
        (config / file).write_text(text)
    assert [(str(error.file), error.line) for error in found] == [(str(config / file), line)], "\n".join(
        map(str, found)
    )


KEYS = {key.value for file, _ in LEAVES for key, _ in typed(file)[1]}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(LEAVES), st.randoms())
def test_a_misspelt_key_gives_one_message_with_its_file_and_line(shared_config, leaf, draw):
    file, number = leaf
    key, _ = typed(file)[1][number]
    wrong = misspelt(key.value, draw)
    assume(wrong not in KEYS)  # `exemplars` without its s is another key of prompts
    check(shared_config, file, key.start_mark.index, key.end_mark.index, wrong, key.start_mark.line + 1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([leaf for leaf in LEAVES if in_one_line(leaf)]))
def test_a_value_of_a_wrong_type_gives_one_message_with_its_file_and_line(shared_config, leaf):
    file, number = leaf
    key, value = typed(file)[1][number]
    check(shared_config, file, value.start_mark.index, value.end_mark.index, "{x: [1]}", key.start_mark.line + 1)


def test_one_fault_of_many_recipes_and_setups_is_one_message(config):
    """The setup's `train` is laid over every trained recipe, here under two setups that share it by an anchor."""
    path = config / "setups.yaml"
    text = path.read_text().replace("learning_rate: 5.0e-4", "learning_rat: 5.0e-4")
    path.write_text(text + "\ncopy: {teacher: smollm2-few-shot, train: {epochs: 1, learning_rat: 1}}\n")
    lines = [number for number, line in enumerate(path.read_text().splitlines(), 1) if "learning_rat:" in line]
    found = refused(config)
    assert [(error.file, error.line, error.problem) for error in found] == [
        (str(path), line, "no such key") for line in lines
    ]


def test_a_fault_of_a_merged_recipe_is_where_the_key_was_last_set(config):
    path = config / "experiments/miniature_ablations.yaml"
    arm = "  - recipe: fine-tune\n    set:\n      train:\n        epochs: many\n    title: Wrong\n"
    path.write_text(path.read_text() + arm)
    (error,) = refused(config)
    assert (error.file, error.line) == (str(path), len(path.read_text().splitlines()) - 1)
    assert error.key.endswith("set.train.epochs") and error.value == "many"


@pytest.mark.parametrize("removed", ["rows: {menttor: null}", "train: {epocs: null}"])
def test_a_key_that_is_removed_and_not_there_is_refused(config, removed):
    path = config / "recipes/mentor-kd-without-augmentation.yaml"
    path.write_text(f"recipe: {path.stem}\nextends: mentor-kd\n{removed}\n")
    (error,) = refused(config)
    assert (error.file, error.line) == (str(path), 3) and "remove" in error.problem


def test_a_fault_in_a_setting_of_the_command_line_names_no_line_of_a_file(config):
    overrides = {"recipes.fine-tune.train.epoch": 1}
    with pytest.raises(UserErrors) as told:
        load_workspace({"experiments": ["miniature"], "overrides": overrides}, config)
    (error,) = told.value.errors
    assert error.line is None and "--config" in str(error) and "overrides.recipes.fine-tune.train.epoch" in str(error)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)
BROKEN = {
    "not UTF-8": (b"recipe: fine-tune\ntitle: caf\xe9\n", 2, "UTF-8"),
    "a tab": (b"recipe: fine-tune\ntrain:\n\tepochs: 3\n", 3, "tab"),
    "a bomb of anchors": (BOMB.encode(), None, "aliases stand for more than"),
    "an anchor in itself": (b"recipe: &a {title: *a}\n", 1, "alias inside"),
    "too deep": (b"recipe: " + b"[" * 5000, None, "deep"),
    "empty": (b"", None, "empty"),
    "a comment alone": (b"# nothing\n", None, "empty"),
    "a list": (b"- recipe: fine-tune\n", 1, "mapping"),
    "a number": (b"7\n", 1, "mapping"),
    "two documents": (b"recipe: fine-tune\n---\nrecipe: fine-tune\n", 2, "YAML"),
    "a key twice": (b"recipe: fine-tune\ntitle: A\ntitle: B\n", 3, "twice"),
    "a key that is a number": (b"recipe: fine-tune\n1: A\n", 2, "quotes"),
    "a key that YAML reads as true": (b"recipe: fine-tune\non: A\n", 2, "quotes"),
    "a tag of Python": (b"recipe: !!python/object:os.system {}\n", 1, "python"),
    "extends a list": (b"recipe: fine-tune\nextends: [mentor-kd]\n", 2, "one recipe"),
    "extends itself": (b"recipe: fine-tune\nextends: fine-tune\n", 2, "circle"),
    "a number for a mapping": (b"recipe: fine-tune\nextends: fine-tune-cot\nobjective: 3\n", 3, "objective"),
    "text for a mapping": (b"recipe: fine-tune\nextends: fine-tune-cot\ntrain: fast\n", 3, "train"),
    "null for what is needed": (b"recipe: fine-tune\nextends: fine-tune-cot\npredict: null\n", 3, "needed"),
}


@pytest.mark.parametrize(("content", "line", "word"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_gives_one_message(config, content, line, word):
    file = config / "recipes/fine-tune.yaml"
    file.write_bytes(content)
    (error,) = refused(config)
    assert str(error.file) == str(file) and word in str(error)
    assert line is None or error.line == line


@pytest.mark.parametrize("name", ["models.yaml", "setups.yaml"])
def test_an_empty_list_of_models_or_setups_gives_one_message(config, name):
    (config / name).write_text("")
    (error,) = refused(config)
    assert str(error.file) == str(config / name) and "empty" in str(error)


def test_dates_and_powers_of_ten_are_read_as_they_look(config):
    """YAML 1.1 reads `1e-4` as a text, which a variant's name would show as one, and `2026-01-31` as a date."""
    path = config / "experiments/miniature_ablations.yaml"
    path.write_text(path.read_text() + "  - {recipe: fine-tune, set: {train.learning_rate: 1e-4}, title: Slow}\n")
    models = config / "models.yaml"
    models.write_text(models.read_text() + "\nhosted: {kind: api, id: 2026-01-31}\n")
    workspace = load_workspace({"experiments": ["miniature"]}, config)
    assert workspace.recipe("fine-tune.learning_rate=0.0001", "miniature").train.learning_rate == 1e-4
    assert workspace.models["hosted"].id == "2026-01-31"
