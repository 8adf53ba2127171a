"""What others wrote is printed, logged and shown without commanding a terminal, hiding itself, or breaking a page."""

import io
import logging
import os
import re
import subprocess
import sys
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.table import Table
from rich.tree import Tree

from distillery import logs, pages
from distillery.cli.common import Console, new_table
from distillery.errors import UserError, UserErrors
from distillery.visible import visible

pytestmark = pytest.mark.reliability("model-text")

FUZZ = settings(max_examples=10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 200, deadline=None)

LIBRARY = Path(__file__).parents[2] / "workflow" / "distillery"
ATTACKS = {
    "title": "a\x1b]0;owned\x07b", "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x1b\\", "clear": "\x1b[2J\x1b[H",
    "overwrite": "good\rbad", "backspace": "bad\x08\x08\x08good", "c1": "\x9b2J\x9d0;owned\x9c", "nul": "a\0b",
    "bidi": "gold \u202e5\u202c \u2066x\u2069", "hidden": "a\u200bb\ufeffc\U000e0041\U000e0042",
    "line": "a\u2028b\x85c",
    "surrogate": "a\ud800b", "delete": "a\x7fb",
}  # fmt: skip
LEFT = {9, 10, 0x200C, 0x200D}


def hidden(text: str) -> set[str]:
    """Characters of a text that a person does not see, by their Unicode category."""
    return {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and ord(c) not in LEFT}


def test_no_code_point_of_control_or_format_is_left_and_all_others_stay():
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    shown = visible(every)
    assert not hidden(shown)
    kept = [c for c in every if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp", "Cn"}]
    assert visible("".join(kept)) == "".join(kept)


def test_escapes_are_those_of_python():
    assert visible("\x1b[2J\u202e\U000e0041\ud800\r\t\n") == r"\x1b[2J\u202e\U000e0041\ud800\r" + "\t\n"
    assert visible("a\nb\tc", one_line=True) == r"a\nb\tc"


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS)
def test_an_error_shows_what_it_quotes(text):
    error = UserError(text, file=f"x{text}\n", key=f"{text}\n", value=text, remedy=text)
    for said in (str(error), str(UserErrors([error, error])), "".join(error.args)):
        assert not hidden(said)
    assert str(error).count("\n") == 0, "a name makes no line of its own"


def test_an_error_with_a_value_that_cannot_be_printed_is_still_an_error():
    assert str(UserError("too large", key="seed", value=10**5000)) == "seed = a int too large to show: too large"
    assert len(str(UserError("too long", key="text", value="x" * 10**6))) < 1100


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS)
def test_a_console_shows_what_it_prints(text):
    table = new_table("name", "number")
    table.add_row(text, f"[bold]{text}[/]")
    tree = Tree(text)
    tree.add(text)
    inner = Table(title=text, caption=text)
    inner.add_column(text)
    inner.add_row(table)
    for terminal in (False, True):
        out = io.StringIO()
        console = Console(file=out, force_terminal=terminal, width=200)
        for item in (text, table, tree, inner, ["list", text]):
            console.print(item)
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        styles = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())
        assert not hidden(styles) and "name" in styles


def test_a_console_still_writes_its_own_colours():
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="standard").print("[red]stale[/]")
    assert out.getvalue() == "\x1b[31mstale\x1b[0m\n"


def test_every_command_prints_through_the_console_that_shows():
    for path in (LIBRARY / "cli").glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert path.name == "common.py" or not re.search(r"rich\.console|typer\.(echo|secho)", source), path
        assert set(re.findall(r"(?<![.\w])print\(.*", source)) <= {'print(f"distillery {__version__}")'}, path


@pytest.mark.reliability("model-text", cases=len(ATTACKS))
def test_a_log_shows_what_its_messages_quote(tmp_path):
    """In a process of its own: logging is set for all of it. Exceptions and warnings that nobody catches count too."""
    text = " ".join(ATTACKS.values())
    code = (
        "import logging, sys, warnings; from pathlib import Path; from distillery.logs import log_to\n"
        "log_to(Path(sys.argv[1])); text = eval(sys.argv[2])\n"
        "logging.getLogger('x').warning('%s: %s', text, Exception(text)); warnings.warn(text)\n"
        "logging.getLogger('x').error('failed', exc_info=ValueError(text))\n"
        "raise ValueError(text)"
    )
    log = tmp_path / "job.log"
    done = subprocess.run([sys.executable, "-c", code, str(log), ascii(text)], capture_output=True, check=False)
    for said in (done.stderr.decode(), log.read_text(encoding="utf-8")):
        assert not hidden(said) and "Logging error" not in said and "failed" in said
        assert said.count("ValueError") == 2
    assert done.returncode == 1


def test_a_warning_of_a_command_without_a_log_is_visible(capsys):
    logs.show_warnings()
    record = logging.LogRecord("x", logging.WARNING, "", 0, "%s is torn", ("a\x1b[2J",), None)
    assert logging.lastResort is not None and logging.lastResort.format(record) == r"a\x1b[2J is torn"


def test_the_command_prints_what_no_command_foresaw(tmp_path):
    code = (
        "import distillery.cli as cli, distillery.cli.cache\n"
        "def broken(*args): raise RuntimeError('a\\x1b]0;owned\\x07')\n"
        "cli.read_settings = broken\n"
        "import sys; sys.argv = ['distillery', 'check']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1 and r"RuntimeError: a\x1b]0;owned\x07" in done.stderr and "\x1b" not in done.stderr


# Pages

PIECES = st.sampled_from(
    [
        "|",
        "\\",
        "`",
        "[a",
        "[a](b)",
        "![a](b c)",
        "![a",
        "](",
        ")",
        "<b>",
        "</td>",
        "<!--",
        "\n",
        "\r",
        "\v",
        "-",
        ":",
        "# ",
        "a",
        "  ",
        "\x1b",
    ]
)
CELLS = st.lists(
    st.lists(PIECES | st.characters(exclude_characters="*_&~"), max_size=8).map("".join), min_size=2, max_size=2
)


@pytest.mark.reliability("model-text", cases=FUZZ.max_examples)
@FUZZ
@given(headings=CELLS, rows=st.lists(CELLS, max_size=2))
def test_no_text_breaks_a_markdown_table_or_adds_to_it(headings, rows):
    """Read by a parser of Markdown: each cell has its own text, and neither tags nor links, images or code.

    Emphasis and entities, which the alphabet leaves out, may format a cell.
    """
    page = "\n".join(pages.markdown_table(headings, rows, [False, True]))
    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    assert tokens[0].type == "table_open" and tokens[-1].type == "table_close" and not hidden(page)
    cells = [token for token in tokens if token.type == "inline"]
    assert {child.type for cell in cells for child in cell.children} <= {"text", "text_special"}
    found = ["".join(child.content for child in cell.children) for cell in cells]
    written = [
        visible(" ".join(text.replace("\r\n", "\n").splitlines())) for line in (headings, *rows) for text in line
    ]
    assert ["".join(text.split()) for text in found] == ["".join(text.split()) for text in written]


class Tags(HTMLParser):
    """Names of the tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.names.append(tag)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A page that prints a name in text, in a table and in an attribute."""
    path = tmp_path_factory.mktemp("pages") / "page.html"
    path.write_text(
        '{% extends "base.html" %}{% block content %}{% for name in reviews.invalid %}<p title="{{ name }}">'
        "{{ name }}</p><pre>{{ name[:30] }}</pre>{% endfor %}{% endblock %}"
    )
    return path


@pytest.mark.reliability("model-text", cases=50)
@given(
    st.text(max_size=40)
    | st.sampled_from(["</pre><script>alert(1)</script>", '" onload="x', "{{ 7 * 7777 }}", "&lt;b>"])
)
def test_a_text_on_a_page_is_text(template, text):
    def of(name: str) -> tuple[str, list[str]]:
        figures = {"slots": 1, "valid": 1, "invalid": {name: 1}}
        page = pages.render(template, title=name, reviews=figures)
        tags = Tags()
        tags.feed(page)
        return page, tags.names

    page, tags = of(text)
    assert tags == of("plain")[1] and not hidden(page) and "54439" not in page
