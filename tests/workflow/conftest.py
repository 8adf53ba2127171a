"""A project for each test: the repository's workflow and config, with a tiny experiment added.

Finished runs are made once for all tests, also of several workers; copies are for those that change something.
"""

import json
import shutil
from pathlib import Path

import pytest

from .projects import Flow, Project, made_once, make_project, run_flow, run_tiny, run_tiny_mapd


@pytest.fixture(scope="session", name="make_project")
def make_project_fixture():
    """The function below, for modules that make projects of their own."""
    return make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project in which nothing has run yet."""
    return make_project(tmp_path / "project")


@pytest.fixture(scope="session")
def finished_template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One finished run of the tiny experiment, by the real rules; copy it, do not change it."""
    return Project(made_once(tmp_path_factory, "finished", run_tiny))


@pytest.fixture(scope="session")
def finished_mapd_template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One finished run of the tiny MAPD experiment; copy it, do not change it."""
    return Project(made_once(tmp_path_factory, "finished_mapd", run_tiny_mapd))


@pytest.fixture
def finished_mapd(finished_mapd_template: Project, tmp_path: Path) -> Project:
    """A copy of it, with the times of its files and Snakemake's own records."""
    root = tmp_path / "project"
    shutil.copytree(finished_mapd_template.root, root, symlinks=True)
    return Project(root)


@pytest.fixture
def finished(finished_template: Project, tmp_path: Path) -> Project:
    """A copy of the finished run, with the times of its files and Snakemake's own records."""
    root = tmp_path / "project"
    shutil.copytree(finished_template.root, root, symlinks=True)
    return Project(root)


@pytest.fixture(scope="session")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Flow:
    """One finished run of the scripted project. Only read it."""
    root = made_once(tmp_path_factory, "flow", run_flow)
    requests, unknown = json.loads((root / "endpoint.json").read_text())
    return Flow(root, requests, unknown, **json.loads((root / "planned.json").read_text()))
