"""A table as Markdown, CSV and HTML: equal tables give equal bytes.

Markdown and HTML print the same columns and leave out those that are empty in every row; CSV is for programs, with
one number per field and always the same columns. HTML is one file without scripts or links to elsewhere: text that
came from a model or a data set is escaped, whatever it holds. Under the table it shows questions with what the
students wrote.
"""

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from distillery.evaluation.tables import Row, Table
from distillery.files import atomic_open
from distillery.hashing import canonical_json

# A runaway completion must not make the page unreadable; the predictions file has it in full.
LONGEST_TEXT = 4000


@dataclass(frozen=True, slots=True)
class Column:
    """A printed column: what it is called, what it says of a row, what it means."""

    heading: str
    text: Callable[[Row], str]
    meaning: str | None = None
    numeric: bool = True


def columns(table: Table) -> list[Column]:
    """The columns of the printed table, without those that are empty in every row."""
    every = [
        Column("Task", lambda row: row.task_title, numeric=False),
        Column("Model", lambda row: row.model, numeric=False),
        Column("Arm", lambda row: row.arm, numeric=False),
        Column(
            "Accuracy [95 % interval]",
            lambda row: f"{row.accuracy:.1f} {_span(row.interval)}",
            f"percent of the test questions, grader {table.grader}, mean over seeds; the interval is Wilson's over"
            " questions for one seed, and a bootstrap over questions and seeds for several",
        ),
        *(
            Column(
                f"Grader {name}",
                _accuracy_under(name),
                f"accuracy in percent of the same answers under the grader {name}",
            )
            for name in table.other_graders
        ),
        Column(
            f"Against {table.baseline_title}",
            _difference,
            "difference in points on the same questions, rounded last, with its paired 95 % bootstrap interval",
        ),
        Column(
            "Published",
            _published,
            "accuracy in percent as the paper prints it",
        ),
        Column(
            "Verdict",
            lambda row: row.verdict,
            "whether the published number lies inside or outside our interval",
            numeric=False,
        ),
        Column("Unparsable", lambda row: _number(row.unparsable), "percent of questions without a final answer"),
        Column("Truncated", lambda row: _number(row.truncated), "percent of completions cut off at the token limit"),
        Column(
            "Raised",
            lambda row: _number(row.raised),
            "percent of questions whose program raised, ran out of time, or was not let run",
        ),
        Column(
            "After rounds",
            lambda row: " → ".join(map(_number, row.rounds)),
            "accuracy after 0, 1, ... rounds of self-refinement, which only failures that a user would see start",
        ),
        Column("Questions", lambda row: str(row.questions), "test questions, the same for all arms of a task"),
        Column("Seeds", lambda row: str(len(row.seeds)), "training runs that are pooled"),
        Column("Samples", lambda row: _count(row.samples_used), "completions that training rows were chosen from"),
        Column("Rows", lambda row: _count(row.training_rows), "training rows, mean over seeds"),
        Column("Train s", lambda row: _number(row.train_seconds), "seconds of training, mean over seeds"),
        Column("Device", lambda row: row.device or "", "where the seconds were spent", numeric=False),
    ]
    return [column for column in every if any(column.text(row) for row in table.rows)]


def write_markdown(table: Table, path: Path) -> None:
    """Write the table as a Markdown page, atomically."""
    shown = columns(table)
    lines = [f"# {_markdown(table.title)}", ""]
    lines += [f"{_markdown(table.caption)}", ""] if table.caption else []
    lines.append(markdown_line(column.heading for column in shown))
    lines.append(markdown_line("---:" if column.numeric else "---" for column in shown))
    lines += [markdown_line(column.text(row) for column in shown) for row in table.rows]
    lines += ["", *(f"* {_markdown(column.heading)}: {column.meaning}." for column in shown if column.meaning)]
    lines += [f"* Note: {_markdown(note)}." for note in table.notes]
    with atomic_open(path) as out:
        out.write("\n".join(lines) + "\n")


CSV_FIELDS: dict[str, Callable[[Row], object]] = {
    "task": lambda row: row.task,
    "model": lambda row: row.model,
    "recipe": lambda row: row.recipe,
    "arm": lambda row: row.arm,
    "swept": lambda row: canonical_json(row.swept) if row.swept else None,
    "accuracy": lambda row: row.accuracy,
    "low": lambda row: row.interval[0],
    "high": lambda row: row.interval[1],
    "questions": lambda row: row.questions,
    "seeds": lambda row: " ".join(map(str, row.seeds)),
    "unparsable": lambda row: row.unparsable,
    "truncated": lambda row: row.truncated,
    "raised": lambda row: row.raised,
    "rounds": lambda row: " ".join(map(_number, row.rounds)),
    "difference": lambda row: row.difference,
    "difference_low": lambda row: row.difference_interval and row.difference_interval[0],
    "difference_high": lambda row: row.difference_interval and row.difference_interval[1],
    "published": lambda row: row.published,
    "published_source": lambda row: row.published_source,
    "verdict": lambda row: row.verdict,
    "samples_used": lambda row: row.samples_used,
    "training_rows": lambda row: row.training_rows,
    "train_seconds": lambda row: row.train_seconds,
    "device": lambda row: row.device,
}


def write_csv(table: Table, path: Path) -> None:
    """Write one line per row and one number per field, atomically; other graders come last, as `accuracy_<grader>`."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([*CSV_FIELDS, *(f"accuracy_{name}" for name in table.other_graders)])
    for row in table.rows:
        lines.writerow([*(field(row) for field in CSV_FIELDS.values()), *map(row.others.get, table.other_graders)])
    with atomic_open(path) as out:
        out.write(text.getvalue())


def write_html(table: Table, path: Path) -> None:
    """Write the table and its sample viewer as one self-contained page, atomically."""
    # The first row of each block of one task and model is set off by a line.
    blocks = [(row.task, row.model) for row in table.rows]
    starts = [place for place, block in enumerate(blocks) if place and block != blocks[place - 1]]
    page = PAGE.render(style=_style, table=table, columns=columns(table), starts=starts, longest=LONGEST_TEXT)
    with atomic_open(path) as out:
        out.write(page.rstrip() + "\n")


def _style(column: Column, row: Row) -> Markup:
    """The class attribute of a table field; our words only, so that it needs no escaping."""
    classes = [
        "n" if column.numeric else "",
        "main" if column.heading.startswith("Accuracy") else "",
        row.verdict if column.heading == "Verdict" else "",
    ]
    given = " ".join(filter(None, classes))
    return Markup(f' class="{given}"' if given else "")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _count(value: float | None) -> str:
    """A count; its mean over seeds may be a fraction."""
    return "" if value is None else f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _span(interval: tuple[float, float] | None, sign: str = "") -> str:
    return "" if interval is None else f"[{interval[0]:{sign}.1f}, {interval[1]:{sign}.1f}]"


def _difference(row: Row) -> str:
    return "" if row.difference is None else f"{row.difference:+.1f} {_span(row.difference_interval, '+')}"


def _published(row: Row) -> str:
    """The number with as many digits as the paper gives, and where it stands."""
    if row.published is None:
        return ""
    return f"{row.published:g} ({row.published_source})" if row.published_source else f"{row.published:g}"


def _accuracy_under(grader: str) -> Callable[[Row], str]:
    return lambda row: _number(row.others.get(grader))


def _markdown(text: str) -> str:
    """Text that cannot end a cell or start a tag."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def markdown_line(fields: Iterable[str]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(_markdown(field) for field in fields) + " |"


# Kept in this module, not in a file beside it: a job's key digests the code that the job imports, and so the layout.
PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ table.title }}</title>
<style>
  :root { color-scheme: light dark; --ink: #1c1e21; --soft: #5b626b; --line: #d5d9de; --page: #fff; --tint: #f4f6f8;
          --good: #10683a; --bad: #a5331c; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e4e7eb; --soft: #9aa4af; --line: #3a4149; --page: #16191d; --tint: #20252b;
            --good: #6fcf97; --bad: #f28b74; } }
  body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 2rem auto;
         padding: 0 1.5rem; max-width: 90rem; }
  h1 { font-size: 1.5rem; margin: 0 0 .5rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
  p, dl { max-width: 52rem; } .soft, dl { color: var(--soft); font-size: .9rem; }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
  th, td { padding: .35rem .7rem; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
  th { vertical-align: bottom; border-bottom: 2px solid var(--soft); font-weight: 600; white-space: normal; }
  .n { text-align: right; } tr.start td { border-top: 2px solid var(--soft); }
  td.main { font-weight: 600; } .inside, .right { color: var(--good); } .outside, .wrong { color: var(--bad); }
  dt { font-weight: 600; float: left; clear: left; margin-right: .5em; } dd { margin: 0 0 .2rem; }
  details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .5rem .9rem; }
  summary { cursor: pointer; } article { border-top: 1px solid var(--line); margin-top: .7rem; padding-top: .6rem; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--tint); border-radius: 4px; margin: .3rem 0;
        padding: .5rem .7rem; font: .85rem/1.45 ui-monospace, monospace; }
  article p { margin: .2rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
</style>
<h1>{{ table.title }}</h1>
{% if table.caption %}
<p>{{ table.caption }}</p>
{% endif %}
<p class="soft">Experiment {{ table.experiment }}{% if table.paper %}, after {{ table.paper }}{% endif %}.</p>
<div class="scroll">
<table>
<thead><tr>
{% for column in columns %}
<th{% if column.numeric %} class="n"{% endif %}{% if column.meaning %} title="{{ column.meaning }}"{% endif %}>
{{- column.heading }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in table.rows %}
<tr{% if loop.index0 in starts %} class="start"{% endif %}>
{% for column in columns %}
<td{{ style(column, row) }}>{{ column.text(row) }}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
</div>
<h2>How to read it</h2>
<dl>
{% for column in columns if column.meaning %}
<dt>{{ column.heading }}</dt><dd>{{ column.meaning }}</dd>
{% endfor %}
</dl>
{% for note in table.notes %}
<p class="soft">{{ note }}.</p>
{% endfor %}
<h2>What the students wrote</h2>
<p class="soft">The first right and the first other answers of each row, in the order of the question ids, from its
first seed. Verdicts are those of the grader {{ table.grader }}.</p>
{% for row in table.rows %}
<details>
<summary>{{ row.task_title }}: <b>{{ row.arm }}</b>, {{ row.model }}
<span class="soft">{{ "%.1f" | format(row.accuracy) }} % of {{ row.questions }} questions</span></summary>
<p class="soft">All predictions:
{%- for path in row.predictions %} <code>{{ path.as_posix() }}</code>{{ "," if not loop.last }}{% endfor %}</p>
{% for example in row.examples %}
{% set prediction = example.prediction %}
<article>
<p><b class="{{ 'right' if example.outcome == 'right' else 'wrong' }}">{{ example.outcome.value }}</b>
 <span class="soft">{{ prediction.qid }}: gold</span> {{ prediction.gold }}
{%- if example.answer is not none %} <span class="soft">answered</span> {{ example.answer }}{% endif %}</p>
<p>{{ prediction.question }}</p>
<pre>{{ prediction.text[:longest] }}</pre>
{% if prediction.text | length > longest %}
<p class="soft">Shown are {{ longest }} of {{ prediction.text | length }} characters.</p>
{% endif %}
{% if prediction.answer_text is not none %}
<p class="soft">Second call:</p>
<pre>{{ prediction.answer_text[:longest] }}</pre>
{% endif %}
{% if prediction.finish_reason != "stop" %}
<p class="soft">Ended by: {{ "token limit" if prediction.finish_reason == "length" else prediction.finish_reason }}</p>
{% endif %}
</article>
{% endfor %}
</details>
{% endfor %}
</html>
""")
