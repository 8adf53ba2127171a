"""Settings files of any content: a value at its line, or one message with file, line, key, value and remedy."""

import os
import re
import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from distillery.config.source import read_source
from distillery.errors import UserError
from distillery.registry import load_workspace

pytestmark = pytest.mark.reliability("data-file")

RUN = {"experiments": ["miniature"]}
RECIPE = "recipes/fine-tune.yaml"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip(string.ascii_lowercase, string.ascii_lowercase[1:12], strict=False)
)


def faults(path, content: bytes | str) -> list[UserError]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    errors: list[UserError] = []
    source = read_source(path, errors)
    assert (source is None) == bool(errors)
    return errors


def test_a_byte_order_mark_and_crlf_are_no_part_of_the_values(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: [yes, 1e-4, 2024-01-01]\r\n")
    assert read_source(tmp_path / "x.yaml", []).content == {"a": 1, "b": [True, 1e-4, "2024-01-01"]}


FAULTS = {
    "UTF-16": ("a: 1\n".encode("utf-16"), "x.yaml: not a UTF-8 text: it is UTF-16"),
    "Latin-1": ("a: 1\n# ä\n".encode("latin-1"), "x.yaml:2: not a UTF-8 text"),
    "NUL": ("a: 1\nb: \0", "x.yaml:2: a NUL byte"),
    "a control character": ("a: 1\nb: \x07", r"x.yaml:2: not valid YAML: the character '\\x07'"),
    "no such character": ('a: "\\U00110000"', "x.yaml: not valid YAML"),
    "half a surrogate pair": ('a: 1\nb: {c: "\\ud800"}', "x.yaml:2: b.c = .*: half of a surrogate pair"),
    "half a pair in a key": ('"\\ud800": 1', "x.yaml:1.*half of a surrogate pair"),
    "a bomb of aliases": (BOMB, "x.yaml:.*more than 100000 values"),
    "a bomb of merges": (
        "a: &a {x: 1}\n"
        + "".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in zip("abcdef", "bcdefg", strict=True)),
        "more than 100000 values",
    ),
    "deep nesting": ("a: " + "[" * 5000, "x.yaml: nested too deeply"),
    "a large file": ("#" * 600_000, "600,000 bytes, and at most 524,288 are read"),
    "a key twice": ("a: 1\nb:\n  c: 1\n  c: 2\n", "x.yaml:4: b = 'c': the key 'c' is given twice"),
    "a number as a key": ("1: x\n", "x.yaml:1 = '1': a key must be a text. Put it into quotes"),
    "null as a key": ("null: x\n", "x.yaml:1 = 'null': a key must be a text"),
    "yes as a key": ("a: {yes: x}\n", "x.yaml:1: a = 'yes': a key must be a text"),
    "a list as a key": ("[a]: x\n", "x.yaml:1: a key must be a text"),
    "not a number": ("a: {b: .nan}\n", "x.yaml:1: a.b = '.nan': nan is no number"),
    "infinity": ("a: [1, -.inf]\n", "x.yaml:1: a.1 = '-.inf': -inf is no number"),
    "beyond floats": ("a: 1e999\n", "x.yaml:1: a = '1e999': inf is no number"),
    "5,000 digits": (f"a: {'9' * 5000}\n", "x.yaml:1: a = '9+...: not valid YAML"),
    "a large hexadecimal number": (f"a: 0x{'f' * 20_000}\n", "x.yaml:1: a = .*more than 63 bits"),
    "octal": ("a: 010\n", "x.yaml:1: a = '010': a number to base 8 or 60"),
    "minutes": ("a: 1:30\n", "x.yaml:1: a = '1:30': a number to base 8 or 60"),
    "a Python object": ("a: !!python/object:os.system x\n", "x.yaml:1.*python/object"),
    "a Python name as a key": ("!!python/name:os.system a: x\n", "x.yaml:1.*python/name"),
    "binary": ("a: !!binary aGVsbG8=\n", "x.yaml:1: a = 'aGVsbG8=': a value of the kind bytes"),
    "a set": ("a: !!set {b}\n", "x.yaml:1: a: the tag tag:yaml.org,2002:set is not allowed"),
    "a merge of a text": ("<<: x\n", "x.yaml:1 = '<<': `<<` takes a mapping"),
    "two documents": ("a: 1\n---\nb: 2\n", "x.yaml:2: not valid YAML"),
    "a list": ("- a\n", "x.yaml:1: must hold a mapping"),
    "a text": ("a\n", "x.yaml:1: must hold a mapping"),
    "nothing": ("# a\n", "x.yaml: the file is empty"),
    "a tab": ("a:\n\tb: 1\n", "x.yaml:2: a tab where YAML wants spaces"),
    "an alias in itself": ("a: &a [*a]\n", "x.yaml:1: a.0: an alias inside the value"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), FAULTS.values(), ids=FAULTS)
def test_what_is_no_setting_is_refused_with_its_line_and_key(content, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (error,) = faults(tmp_path / "x.yaml", content)
    assert re.search(words, str(error)) and len(str(error)) < 1500


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name in ("pipe", "device", "loop", "folder", "none"):
        errors: list[UserError] = []
        assert read_source(tmp_path / f"{name}.yaml", errors) is None
        assert f"{name}.yaml: cannot be read" in str(errors[0])


@pytest.mark.parametrize("value", ["[fine-tune-cot]", "{a: b}", "1", "true", "''", "nope", "fine-tune", "../x"])
def test_a_recipe_extends_the_name_of_another_recipe_only(config, value):
    path = config / RECIPE
    path.write_text(path.read_text() + f"extends: {value}\n")
    with pytest.raises(UserError, match=r"fine-tune\.yaml:\d+: extends = "):
        load_workspace(RUN, config)


@pytest.mark.parametrize("file", [RECIPE, "models.yaml", "setups.yaml", "config.yaml"])
def test_a_file_that_cannot_be_read_is_named_by_the_workspace(config, file):
    (config / file).write_bytes(b"a: \xff\n")
    with pytest.raises(UserError, match=f"{file}:1: not a UTF-8 text"):
        load_workspace(RUN, config)


def many_references() -> list:
    inner: list = ["x"]
    for _ in range(60):
        inner = [inner, inner]
    return inner


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"budget": {"money": float("nan")}}, "config.yaml: budget.money: nan is no number"),
        ({"budget": {"samples": 10**5000}}, "config.yaml: budget.samples: a whole number of more than 63 bits"),
        ({"experiments": ["a\ud800"]}, "config.yaml: experiments.0: half of a surrogate pair"),
        ({1: 2}, "config.yaml: 1: a key must be a text"),
        ({"overrides": {None: 1}}, "config.yaml: overrides.None: a key must be a text"),
        ({"experiments": [{}]}, "experiments.0"),
        ({"overrides": [1]}, "overrides"),
    ],
)
def test_settings_that_snakemake_read_are_refused_in_the_same_words(config, settings, words):
    with pytest.raises(UserError, match=words):
        load_workspace({**RUN, **settings}, config)


def test_settings_of_many_references_to_one_list_are_refused(config):
    with pytest.raises(UserError, match=r"config\.yaml: overrides: stands for more than 100000 values"):
        load_workspace({**RUN, "overrides": {"recipes.fine-tune.rows": many_references()}}, config)


@pytest.mark.reliability("data-file", cases=100)
@given(
    st.binary(max_size=60)
    | st.text("ab:,[]{}\n -&*!<?|>'\"%@`#\t.0x1e9~=", max_size=60)
    | st.dictionaries(st.text(), st.none() | st.floats() | st.integers() | st.text()).map(yaml.safe_dump)
)
def test_any_content_is_settings_or_one_fault_that_names_the_file(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    found = faults(path, content)
    assert len(found) <= 1 and all("any.yaml" in str(error) for error in found)
    str(found).encode()
