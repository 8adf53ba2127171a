"""Settings of all tests: threads, Hypothesis, and the report of a machine for continuous integration."""

import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import settings

from .machine import VARIABLE, data_root, engine_in_use, sandbox_in_use

pytest_plugins = ["tests.reliability"]

# Tiny models are slower with several threads, and much slower where threads spin on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A deadline measures how busy the machine is. `HYPOTHESIS_PROFILE=nightly` looks at more cases.
settings.register_profile("default", deadline=None)
settings.register_profile("nightly", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

GOLDEN_TESTS = 107
"""Tests with the mark `golden` that run where all of the papers' data is present. Raise it with each new one."""


@pytest.fixture(autouse=True)
def environment_of_its_own() -> Iterator[None]:
    """Each test leaves the environment as it was: planning in this process sets the variables of a run."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Ids of tests without backslashes: pytest does not find a test again whose id on the command line has one."""
    text = val.decode("latin-1") if isinstance(val, bytes) else val
    return re.sub(r"[^ -\[\]-~]", "_", text) if isinstance(text, str) else None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--ci",
        action="store_true",
        help="say which sandbox, engine and data are in use; fail if fewer golden tests ran than the data permits",
    )


def pytest_report_header(config: pytest.Config) -> list[str]:
    if not config.getoption("--ci"):
        return []
    root = data_root()
    return [
        f"sandbox in use: {sandbox_in_use()}",
        f"engine in use: {engine_in_use()}",
        f"data of the papers: {root or f'absent, set {VARIABLE}; the golden tests are skipped'}",
    ]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, exitstatus, config) -> None:
    if not config.getoption("--ci"):
        return
    ran = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call" and "golden" in report.keywords
    ]
    known = GOLDEN_TESTS if data_root() else 0
    terminalreporter.write_line(f"golden tests: {len(ran)} ran, {known} are known to run with the data that is here")
    if len(ran) < known:
        terminalreporter.write_line("fewer golden tests ran than are known: tests/conftest.py", red=True)
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED
