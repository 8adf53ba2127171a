"""Pages for people: what the Markdown and HTML pages of all rooms share.

An HTML page is one file without scripts or links to elsewhere. It is rendered from a template of its room, which
extends the base that all pages share:

    templates/base.html                   head and heading; includes page.css
    templates/page.css                    the style of every page
    evaluation/templates/table.html       an experiment's table (`distillery.evaluation.table_formats`)
    peer_review/templates/audit.html      the audit of a peer review (`distillery.peer_review.audit_pages`)

Names come from files that people write, and texts from models and data sets: all of it is escaped.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from distillery.visible import visible

BASE = (
    Path(__file__).parent / "templates" / "base.html",
    Path(__file__).parent / "templates" / "page.css",
)
"""What every page is made from, beside its own template. A constant such as this one names each file, so that the bytes
of exactly the files that a stage renders are part of its key."""


def render(template: Path, **values: object) -> str:
    """An HTML page from a room's template, with one line feed at the end.

    Raises:
        jinja2.TemplateNotFound: The template extends or includes a file that is not in `BASE`.
        jinja2.UndefinedError: The template names a value that it does not get.
    """
    environment = Environment(
        loader=DictLoader({path.name: path.read_text(encoding="utf-8") for path in (*BASE, template)}),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["text"] = as_text
    return environment.get_template(template.name).render(values).rstrip() + "\n"


def _shown(value: object) -> object:
    """What a template prints: in a text, marks that reorder or hide it are visible. The template's own markup stays."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def as_text(value: object) -> str:
    """A figure as pages print it: three decimals of a fraction, nothing where there is none.

    >>> as_text(2 / 3), as_text(7), as_text(None)
    ('0.667', '7', '')
    """
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


_LINE_END = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def markdown_text(text: str) -> str:
    r"""Text that cannot end a cell of a Markdown table, or start a tag, a link, an image or code.

    >>> print(markdown_text("a|b `c` ![d](https://e) <f>\n2"))
    a\|b \`c\` ![d]\(https://e) &lt;f> 2
    """
    for sign, escaped in (("\\", "\\\\"), ("|", "\\|"), ("`", "\\`"), ("](", "]\\("), ("<", "&lt;")):
        text = text.replace(sign, escaped)
    return visible(_LINE_END.sub(" ", text))


def markdown_line(fields: Iterable[str]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(map(markdown_text, fields)) + " |"


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool]) -> list[str]:
    """Lines of a Markdown table.

    Args:
        numeric: Whether a column is aligned to the right, one for each heading.
    """
    rule = ["---:" if right else "---" for right in numeric]
    return [markdown_line(line) for line in (headings, rule, *rows)]
