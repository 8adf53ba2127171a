"""Mutants that do not count: each entry still stands in the code, and only the named part may differ."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def equivalent():
    spec = importlib.util.spec_from_file_location("equivalent", ROOT / "tests" / "mutants" / "equivalent.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_equivalent_mutant_is_of_a_line_that_is_in_the_code():
    for entry in equivalent().MUTANTS:
        lines = [line.strip() for line in (ROOT / "workflow/distillery" / entry.file).read_text().splitlines()]
        assert set(entry.old.splitlines()) <= set(lines), entry
        assert entry.old != entry.new and entry.reason


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ('with open(path, encoding="utf-8") as f:', 'with open(path, encoding="UTF-8") as f:', False),
        ('with open(path, encoding="utf-8") as f:', "with open(path, ) as f:", False),
        ('with open(path, encoding="utf-8") as f:', 'with open(encoding="utf-8") as f:', True),
        ('with open(path, encoding="utf-8") as f:', 'with open(path, encoding="XXutf-8XX") as f:', True),
        ("a = b", "a = None", True),
    ],
)
def test_a_codec_by_another_name_does_not_count_and_nothing_else_of_its_line_is_left_out(old, new, counts):
    assert (equivalent().reason_of("any.py", "function", old, new) is None) == counts
