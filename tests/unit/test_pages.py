"""Pages share one base and one style, and their files are known to whoever needs their bytes."""

import fnmatch
import tomllib
from pathlib import Path

import jinja2
import pytest

from distillery import pages

ROOT = Path(__file__).parents[2]


def test_every_file_of_the_folder_is_declared_and_installed_with_the_package():
    folder = sorted(path.name for path in pages.FOLDER.rglob("*") if path.is_file())
    assert sorted(pages.TEMPLATES) == folder
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    patterns = settings["package-data"]["distillery"]
    assert all(any(fnmatch.fnmatch(f"templates/{name}", pattern) for pattern in patterns) for name in folder)


@pytest.mark.parametrize("page", ["table.html", "audit.html"])
def test_a_page_is_made_of_its_template_the_shared_base_and_the_shared_style(page):
    assert [path.name for path in pages.template_files(page)] == sorted([page, "base.html", "page.css"])


def test_a_page_without_one_of_its_values_is_an_error_and_not_an_empty_field():
    with pytest.raises(jinja2.UndefinedError, match="'note' is undefined"):
        pages.render("audit.html", title="Audit", reviews={"slots": 1, "valid": 1, "invalid": {}})
