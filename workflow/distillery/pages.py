"""Pages for people: what the Markdown and HTML pages of all rooms share.

An HTML page is one file without scripts or links to elsewhere. All pages extend one base and have one style:

    templates/base.html    head and heading; includes page.css
    templates/page.css     the style of every page
    templates/table.html   an experiment's table (`distillery.evaluation.table_formats`)
    templates/audit.html   the audit of a peer review (`distillery.peer_review.audit_pages`)

Names come from files that people write, and texts from models and data sets: all of it is escaped.
"""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, meta

FOLDER = Path(__file__).parent / "templates"

TEMPLATES = ("audit.html", "base.html", "page.css", "table.html")
"""Every file of the folder. Their bytes are part of the key of each stage that renders a page."""


def render(template: str, **values: object) -> str:
    """An HTML page with one line feed at the end.

    Raises:
        jinja2.UndefinedError: The template names a value that it does not get.
    """
    return _environment().get_template(template).render(values).rstrip() + "\n"


def template_files(template: str) -> list[Path]:
    """The files that a page is rendered from: the template and all that it extends or includes, sorted."""
    found: set[str] = set()
    pending = [template]
    while pending:
        name = pending.pop()
        found.add(name)
        parsed = _environment().parse((FOLDER / name).read_text(encoding="utf-8"))
        for referenced in meta.find_referenced_templates(parsed):
            if referenced is None:
                raise ValueError(f"{name} names a template by an expression: its files cannot be listed")
            if referenced not in found:
                pending.append(referenced)
    return [FOLDER / name for name in sorted(found)]


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["text"] = as_text
    return environment


def as_text(value: object) -> str:
    """A figure as pages print it: three decimals of a fraction, nothing where there is none.

    >>> as_text(2 / 3), as_text(7), as_text(None)
    ('0.667', '7', '')
    """
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def markdown_text(text: str) -> str:
    """Text that cannot end a cell of a Markdown table or start a tag."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


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
