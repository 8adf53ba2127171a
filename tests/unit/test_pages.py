"""Pages share one base and one style, name every file that they are made from, and are installed with the package."""

import re
import tomllib
from pathlib import Path

import jinja2
import pytest

from distillery import pages
from distillery.evaluation import table_formats
from distillery.peer_review import audit_pages

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "workflow" / "distillery"
PAGES = (table_formats.PAGE, audit_pages.PAGE)


def test_every_template_is_named_by_a_page_and_installed_with_its_package():
    templates = sorted(LIBRARY.rglob("templates/*"))
    assert sorted([*pages.BASE, *PAGES]) == templates
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    patterns = settings["package-data"]["*"]
    for path in templates:
        package = path.parents[1]
        assert (package / "__init__.py").is_file()
        assert any(path.relative_to(package).match(pattern) for pattern in patterns)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pages_differ_by_their_content_alone(page):
    source = page.read_text(encoding="utf-8")
    assert source.startswith('{% extends "base.html" %}') and not re.search("<style|<head|<!doctype", source)


def test_a_page_cannot_be_made_of_a_file_that_no_key_knows(tmp_path):
    (tmp_path / "other.html").write_text("{{ 1 }}")
    (tmp_path / "page.html").write_text('{% include "other.html" %}')
    with pytest.raises(jinja2.TemplateNotFound, match=r"other\.html"):
        pages.render(tmp_path / "page.html")


def test_a_page_without_one_of_its_values_is_an_error_and_not_an_empty_field():
    with pytest.raises(jinja2.UndefinedError, match="'note' is undefined"):
        pages.render(audit_pages.PAGE, title="Audit", reviews={"slots": 1, "valid": 1, "invalid": {}})
