"""The audit for people: a Markdown page, and one self-contained HTML page on which a lenient reviewer stands out.

Names come from files that people write, reasons may quote models: all of it is escaped.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment

from distillery.files import atomic_open
from distillery.peer_review.audit import GOOD, LENIENT, audit_markdown

THRESHOLD_COLUMNS = ("threshold", "accepted", "questions", "right", "precision", "recall")


def write_pages(figures: Mapping[str, Any], markdown: Path, html: Path, *, title: str, note: str | None = None) -> None:
    """Write both pages, atomically.

    Args:
        figures: Of `audit`, with `thresholds` of `sweep_thresholds`.
        note: What a reader must know first, such as that reviewers are of their authors' family.
    """
    lines = [audit_markdown(figures, title), "## Other thresholds", ""]
    lines.append("| " + " | ".join(name.capitalize() for name in THRESHOLD_COLUMNS) + " |")
    lines.append("|" + " ---: |" * len(THRESHOLD_COLUMNS))
    for row in figures["thresholds"]:
        lines.append("| " + " | ".join(_text(row[name]) for name in THRESHOLD_COLUMNS) + " |")
    lines += ["", f"{note}."] if note else []
    with atomic_open(markdown) as out:
        out.write("\n".join(lines) + "\n")
    page = PAGE.render(title=title, note=note, good=GOOD, lenient=LENIENT, columns=THRESHOLD_COLUMNS, **figures)
    with atomic_open(html) as out:
        out.write(page.rstrip() + "\n")


def _text(value: object) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


# Kept in this module, as the tables' page in its own: a job's key digests the code that the job imports.
_environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
_environment.filters["text"] = _text
PAGE = _environment.from_string("""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
  :root { color-scheme: light dark; --ink: #1c1e21; --soft: #5b626b; --line: #d5d9de; --page: #fff; --bad: #a5331c;
          --bar: #4a7fb5; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e4e7eb; --soft: #9aa4af; --line: #3a4149; --page: #16191d; --bad: #f28b74; --bar: #6fa3d8; } }
  body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 2rem auto;
         padding: 0 1.5rem; max-width: 75rem; }
  h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } p { color: var(--soft); max-width: 52rem; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
  th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }
  th:first-child, td:first-child { text-align: left; } th { border-bottom: 2px solid var(--soft); }
  .lenient td { color: var(--bad); font-weight: 600; }
  .bar { display: inline-block; background: var(--bar); height: .7em; margin-right: .4em; }
</style>
<h1>{{ title }}</h1>
<p>{{ reviews.slots }} reviews, {{ reviews.valid }} with a valid score
{%- for reason, count in reviews.invalid.items() %}; {{ count }} {{ reason }}{% endfor %}.
{% if note %}{{ note }}.{% endif %}</p>
<h2>Reviewers</h2>
<table>
<tr><th>Reviewer</th><th>Reviews</th><th>Valid</th>
{% for score in ["1", "2", "3", "4", "5"] %}<th>{{ score }}</th>{% endfor %}
<th>Mean</th><th>Accuracy</th><th>False accept rate</th><th>Repeats equal</th><th></th></tr>
{% for name, row in reviewers.items() %}
<tr{% if row.lenient %} class="lenient"{% endif %}><td>{{ name }}</td><td>{{ row.reviews }}</td><td>{{ row.valid }}</td>
{% for score, count in row.histogram.items() %}
<td><span class="bar" style="width: {{ (40 * count / row.valid) | round | int if row.valid else 0 }}px"></span>
{{- count }}</td>
{% endfor %}
<td>{{ row.mean | text }}</td><td>{{ row.accuracy | text }}</td><td>{{ row.false_accept_rate | text }}</td>
<td>{% if row.repeats.reviews %}{{ row.repeats.equal }} of {{ row.repeats.reviews }}{% endif %}</td>
<td>{{ "lenient" if row.lenient }}</td></tr>
{% endfor %}
</table>
<p>Accuracy: a score from {{ good }} on, against the answer check. False accept rate: share of the rationales without
the right answer that get such a score; above {{ lenient }} a reviewer is called lenient.</p>
<h2>Agreement</h2>
<table>
<tr><th>Reviewers</th><th>Rationales</th><th>Equal</th><th>1 against 5</th><th>Weighted kappa</th></tr>
{% for name, row in pairs.items() %}
<tr><td>{{ name }}</td><td>{{ row.rationales }}</td><td>{{ row.equal }}</td><td>{{ row.maximum_split }}</td>
<td>{{ row.kappa | text }}</td></tr>
{% endfor %}
<tr><td>all</td><td>{{ agreement.rationales }}</td><td>{{ agreement.equal }}</td><td>{{ agreement.maximum_split }}</td>
<td></td></tr>
</table>
<h2>Authors</h2>
<table>
<tr><th>Author</th><th>Rationales</th><th>Accepted</th><th>Rejected</th><th>Undecided</th><th>Share</th><th>Right</th>
<th>Precision</th><th>Characters</th></tr>
{% for name, row in authors.items() %}
<tr><td>{{ name }}</td><td>{{ row.rationales }}</td><td>{{ row.accepted }}</td><td>{{ row.rejected }}</td>
<td>{{ row.undecided }}</td><td>{{ row.share_accepted | text }}</td><td>{{ row.right }}</td>
<td>{{ row.precision | text }}</td><td>{{ row.mean_length | text }}</td></tr>
{% endfor %}
</table>
<p>Each author has reviewers of its own: shares of two authors cannot be compared.</p>
<h2>Against the answer check</h2>
<table>
<tr><th>Decision</th><th>Right</th><th>Not right</th></tr>
{% for name, row in acceptance.confusion.items() %}
<tr><td>{{ name }}</td><td>{{ row.right }}</td><td>{{ row.not_right }}</td></tr>
{% endfor %}
</table>
<p>Precision {{ acceptance.precision | text }}, recall {{ acceptance.recall | text }}; {{ acceptance.not_checked }} not
checked.</p>
<h2>Other thresholds</h2>
<table>
<tr>{% for name in columns %}<th>{{ name | capitalize }}</th>{% endfor %}</tr>
{% for row in thresholds %}
<tr>{% for name in columns %}<td>{{ row[name] | text }}</td>{% endfor %}</tr>
{% endfor %}
</table>
<p>All else as in the rule of this recipe; from the same reviews, no model was asked.</p>
</html>
""")
