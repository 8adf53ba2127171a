"""The table of docs/reliability.md: for each class of faults, how many cases the tests tried and how many held.

A test says with `@pytest.mark.reliability("<class>")` which class of tests/reliability.yaml it tries. It counts as one
case, or as `cases=n` of them: the examples of a fuzzer, the answers of a server, the kills of a loop.
`pytest --reliability write` writes the page, `--reliability check` fails where the page differs from what ran.
"""

from collections import Counter
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[1]
CLASSES = PROJECT / "tests" / "reliability.yaml"
PAGE = PROJECT / "docs" / "reliability.md"

HEAD = """# What the workflow withstands

Written by `make reliability` from the tests with the mark `reliability`; `tests/reliability.yaml` holds the words.
A case is one test, one example of a fuzzer, one answer of a faulty server or one kill. `make test-nightly` tries more.
"""


def classes() -> dict[str, dict[str, str]]:
    """The classes of faults by name: `title`, `promised`, and `not_promised` where something stays open."""
    return yaml.safe_load(CLASSES.read_text(encoding="utf-8"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--reliability", choices=["write", "check"], help="write or check docs/reliability.md")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    known = classes()
    for item in items:
        cases: dict[str, int] = {}
        for mark in item.iter_markers("reliability"):  # the mark of a test comes before that of its module
            cases.setdefault(mark.args[0], mark.kwargs.get("cases", 1))
        if unknown := cases.keys() - known.keys():
            raise pytest.UsageError(f"{item.nodeid}: no class {sorted(unknown)} in tests/reliability.yaml")
        # Reports travel between processes with their properties, and without their marks.
        item.user_properties += [("reliability", [name, count]) for name, count in cases.items()]


def page(reports: list[pytest.TestReport]) -> str:
    """The page for the finished tests: one report each, of their call."""
    tried: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for report in reports:
        for name, cases in (value for key, value in report.user_properties if key == "reliability"):
            tried[name] += cases
            held[name] += cases if report.passed else 0
    lines = [HEAD, "| class | cases tried | held |", "|---|---:|---:|"]
    lines += [f"| {words['title']} | {tried[name]:,} | {held[name]:,} |" for name, words in classes().items()]
    for words in classes().values():
        lines += ["", f"## {words['title']}", "", f"Promised: {words['promised'].strip()}"]
        if "not_promised" in words:
            lines += ["", f"Not promised: {words['not_promised'].strip()}"]
    return "\n".join(lines) + "\n"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, exitstatus, config) -> None:
    wanted = config.getoption("--reliability")
    if not wanted:
        return
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call"
    ]
    written = page(reports)
    if wanted == "write":
        PAGE.write_text(written, encoding="utf-8")
    elif written != PAGE.read_text(encoding="utf-8"):
        terminalreporter.write_line("docs/reliability.md differs from what ran: make reliability", red=True)
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED
