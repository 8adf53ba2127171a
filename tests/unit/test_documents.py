"""Documents: numbers in them are those of their measured files."""

import importlib.util
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def generator():
    spec = importlib.util.spec_from_file_location("generate_documents", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_readme_are_those_of_their_measured_files():
    generate = generator()
    for name in generate.DOCUMENTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert generate.rendered(ROOT / name) == text, "run `make documents`"
        assert len(generate.MARKED.findall(text)) == text.count("<!-- measured: ") > 0


def test_a_number_changed_by_hand_is_noticed(tmp_path):
    generate = generator()
    changed = tmp_path / "README.md"
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    changed.write_text(text.replace("35.5 [29.0, 42.2]", "97.0 [94.0, 99.0]"), encoding="utf-8")
    assert changed.read_text(encoding="utf-8") != text
    assert generate.rendered(changed) == text


def test_the_page_of_what_is_withstood_has_the_words_of_its_classes_and_no_case_that_failed():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    classes = yaml.safe_load((ROOT / "tests" / "reliability.yaml").read_text(encoding="utf-8"))
    rows = {
        title: (int(tried.replace(",", "")), int(held.replace(",", "")))
        for title, tried, held in re.findall(r"^\| (.+) \| ([\d,]+) \| ([\d,]+) \|$", page, re.MULTILINE)
    }
    assert list(rows) == [words["title"] for words in classes.values()]
    assert all(tried == held > 0 for tried, held in rows.values())
    for words in classes.values():
        assert words["promised"].strip() in page and words.get("not_promised", "").strip() in page, "make reliability"
