"""What several unit tests start from."""

import shutil
from pathlib import Path

import pytest

from distillery.jobs.job import Job

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job of a stage that multiplies the number in its input, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    Path("in.txt").write_text("2")
    return Job(
        stage="multiply",
        inputs={"number": Path("in.txt")},
        outputs={"result": Path("out/result.txt"), "provenance": Path("out/provenance.json")},
        params={"factor": 2, "code": "abc", "libraries": {}},
    )


@pytest.fixture
def config(tmp_path):
    """A copy of the shipped declarative files, to be changed."""
    return shutil.copytree(REPOSITORY / "config", tmp_path / "config")
