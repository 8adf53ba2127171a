"""Names of variants: different settings have different names, and equal settings have one."""

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from distillery.config.base import VariantName
from distillery.config.setting_names import SettingNames, flattened, setting_paths, written
from distillery.training.objectives import OBJECTIVES

PATHS_OF_RECIPES = setting_paths(tuple(OBJECTIVES.values()))
NAMES = SettingNames(PATHS_OF_RECIPES)
LONGEST = 130
"""Characters of a recipe's name of 30 and all its settings; a folder's name takes 255 bytes."""

PATHS = sorted(
    {".".join("abc-1" if key == "*" else key for key in path) for path in PATHS_OF_RECIPES}
    | {"rows.5.degree", "rows.teacher.degree", "rows.teacher-degree.degree", "pairs.accept.weights.teacher-degree"}
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, 1.0, 1e-5, 1e16, 0.25, 10**40]),
    st.sampled_from(
        ["1", "1.0", "true", "null", "none", "x.alpha=1", "a/b", "a b", "A", "a", "", "x.lora", "x", "1e-05"]
    ),
    st.text(max_size=6),
    st.text("abc.=-/", max_size=40),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))
# Few paths and few values each, so that pairs differ in one of them and meet in the others.
SETTINGS = st.dictionaries(st.sampled_from(PATHS), VALUES, max_size=4).filter(
    lambda changed: not any(a.startswith(f"{b}.") for a in changed for b in changed)
)
PAIRS = st.one_of(
    st.tuples(SETTINGS, SETTINGS),
    st.tuples(st.sampled_from(PATHS), st.sampled_from(PATHS), VALUES).map(lambda t: ({t[0]: t[2]}, {t[1]: t[2]})),
    st.tuples(st.sampled_from(PATHS), VALUES, VALUES).map(lambda t: ({t[0]: t[1]}, {t[0]: t[2]})),
    # A value, and a text that looks like it or like its name.
    st.tuples(st.sampled_from(PATHS), VALUES, st.sampled_from([str, json.dumps, written])).map(
        lambda t: ({t[0]: t[1]}, {t[0]: t[2](t[1])})
    ),
)


def nested(changed: dict, order: random.Random) -> dict:
    """The same settings as nested mappings, in another order."""
    found: dict = {}
    items = list(changed.items())
    order.shuffle(items)
    for path, value in items:
        *above, last = path.split(".")
        inner = found
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return found


@settings(max_examples=1000, deadline=None)
@given(PAIRS)
def test_two_settings_have_one_name_if_and_only_if_they_are_equal(pair):
    texts = [json.dumps(changed, sort_keys=True) for changed in pair]  # 1, 1.0 and true are equal in Python
    assert (NAMES.variant("mapd", pair[0]) == NAMES.variant("mapd", pair[1])) == (texts[0] == texts[1])


@pytest.mark.parametrize("text", ["x.lora", "x.steps", "1.lora", "x=1.lora", "x.objective"])
def test_a_text_does_not_run_into_the_setting_behind_it(text):
    label = f"{text.rpartition('.')[2]}.alpha"
    one = NAMES.variant("mapd", {"a": text, "alpha": 1})
    two = NAMES.variant("mapd", {"a": text.rpartition(".")[0], label: 1})
    assert one != two


@settings(max_examples=300, deadline=None)
@given(SETTINGS, st.randoms())
def test_order_and_nesting_of_settings_do_not_matter(changed, order):
    assert NAMES.variant("mapd", nested(changed, order)) == NAMES.variant("mapd", changed)


@settings(max_examples=500, deadline=None)
@given(SETTINGS)
def test_a_name_is_short_and_stands_in_a_path(changed):
    name = NAMES.variant("r" * 30, changed)
    assert TypeAdapter(VariantName).validate_python(name) == name
    assert len(name) <= LONGEST


def test_a_name_parses_back_to_the_settings_alone():
    """Of all settings of one numeric value, the label in a name belongs to one path."""
    labels: dict[str, str] = {}
    for path in PATHS:
        label, value = re.fullmatch(r"mapd\.(.+)=(.+)", NAMES.variant("mapd", {path: 2})).groups()
        assert value == "2"
        assert labels.setdefault(label, path) == path
        assert "etc" not in label.split(".")
        assert not re.match(r"\d+(\.|$)", label), "a label could be the end of the number before it"


@pytest.mark.parametrize(
    ("recipe", "changed", "name"),
    [
        ("mapd", {"objective.alpha": 0.25, "pairs.round": 3}, "mapd.alpha=0.25.round=3"),
        ("mentor-kd", {"objective.lambda": 0.5}, "mentor-kd.lambda=0.5"),
        ("mapd", {"pairs.accept.threshold": 1}, "mapd.threshold=1"),
        ("pad-with-verification", {"predict.steps.scorer": "none"}, "pad-with-verification.scorer=none"),
        ("fine-tune-cot", {"rows.teacher.degree": 4}, "fine-tune-cot.teacher-degree=4"),
        ("mapd", {"train.lora.alpha": 1}, "mapd.lora.alpha=1"),
        ("pad", {"predict.steps.lambda": 1.0}, "pad.steps.lambda=1.0"),
        ("mapd", {"rows.mentor": None}, "mapd.rows.mentor=null"),
        ("mapd", {"mentor": None}, "mapd.mentor=null"),
        ("mapd", {}, "mapd"),
    ],
)
def test_names_are_readable(recipe, changed, name):
    assert NAMES.variant(recipe, changed) == name


def test_what_other_experiments_set_renames_nothing():
    assert (
        SettingNames(PATHS_OF_RECIPES, ["train.lora.alpha", "predict.steps.lambda"]).label_of("objective.alpha")
        == "alpha"
    )


@pytest.mark.parametrize(
    "changed", [{"train": {"epochs": 1}, "train.epochs": 2}, {"train.lora": None, "train.lora.rank": 8}]
)
def test_a_setting_given_twice_is_refused(changed):
    with pytest.raises(ValueError, match=r"twice|inside"):
        flattened(changed)
