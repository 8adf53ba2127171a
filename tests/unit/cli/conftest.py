"""A small project with a finished run, for the commands: seven jobs, no model, made once in a session."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from distillery.cli import app

REPOSITORY = Path(__file__).parents[3]
SMALL = Path(__file__).parent / "small_project"
VARIABLES = ("DISTILLERY_CACHE", "DISTILLERY_STORE", "DISTILLERY_WORK")

Command = Callable[..., Result]


@pytest.fixture(scope="session")
def small_finished(tmp_path_factory):
    """The project after one real run of Snakemake; copy it, do not change it."""
    root = tmp_path_factory.mktemp("small") / "project"
    shutil.copytree(SMALL, root, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("config", "profiles"):
        shutil.copytree(REPOSITORY / folder, root / folder)
    (root / "workflow" / "distillery").symlink_to(REPOSITORY / "workflow" / "distillery")
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2"],
        cwd=root,
        env={**clean, "PYTHONPATH": str(REPOSITORY / "workflow")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return root


@pytest.fixture
def command(monkeypatch) -> Command:
    """Run a command in this process, at 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, fails: bool = False) -> Result:
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == int(fails), f"{done.output}\n{done.exception!r}"
        assert not fails or isinstance(done.exception, SystemExit)
        return done

    return run


@pytest.fixture
def small(small_finished, tmp_path, monkeypatch) -> Path:
    """A copy of the finished project, with the times of its files; the current folder of this process."""
    root = tmp_path / "project"
    shutil.copytree(small_finished, root, symlinks=True)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def change(small):
    """Change a setting of the small project."""

    def set_to(**settings):
        path = small / "small.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **settings}))

    return set_to
