"""A table as Markdown, CSV, Parquet and HTML: equal tables give equal bytes.

Markdown and HTML print the same columns and leave out those that are empty in every row. CSV and Parquet are for
programs: both are written from one data frame (`to_frame`), with always the same columns and one number per field.
Below the HTML table are questions with what the students wrote.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from distillery.evaluation.table_records import PartScore, Row, Table
from distillery.files import atomic_open
from distillery.hashing import canonical_json
from distillery.pages import markdown_table, markdown_text, render

if TYPE_CHECKING:  # pandas takes a second to import: only the functions that need it load it
    import pandas as pd

PAGE = Path(__file__).parent / "templates" / "table.html"

# A runaway completion must not make the page unreadable; the predictions file has it in full.
LONGEST_TEXT = 4000


@dataclass(frozen=True, slots=True)
class Column:
    """A printed column: its heading, its text for a row, and its meaning."""

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
            f"percent of the {table.split} questions, grader {table.grader}, mean over seeds; the interval is Wilson's"
            " over questions for one seed, and a bootstrap over questions and seeds for several",
        ),
        *(
            Column(
                f"Grader {name}",
                _printed_under(name),
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
            "percent of questions whose program raised, ran out of time, or was not allowed to run",
        ),
        Column(
            "After rounds",
            lambda row: " → ".join(map(_number, row.rounds)),
            "accuracy after 0, 1, ... rounds of self-refinement; only failures that a user would see start a round",
        ),
        Column(
            "Questions", lambda row: str(row.questions), f"{table.split} questions, the same for all arms of a task"
        ),
        Column("Seeds", lambda row: str(len(row.seeds) or ""), "training runs that are pooled"),
        Column("Samples", lambda row: _count(row.samples_used), "completions that training rows were chosen from"),
        Column("Rows", lambda row: _count(row.training_rows), "training rows, mean over seeds"),
        Column("Updates", lambda row: _count(row.updates), "updates of the training, mean over seeds"),
        Column("Train s", lambda row: _number(row.train_seconds), "seconds of training, mean over seeds"),
        Column("Device", lambda row: row.device or "", "where the seconds were spent", numeric=False),
    ]
    return [column for column in every if any(column.text(row) for row in table.rows)]


def part_columns(table: Table) -> list[Column]:
    """The columns of the table of parts; none where the experiment names no part."""
    titles = list(dict.fromkeys(title for row in table.rows for title in row.parts))
    names = [
        Column("Task", lambda row: row.task_title, numeric=False),
        Column("Model", lambda row: row.model, numeric=False),
        Column("Arm", lambda row: row.arm, numeric=False),
    ]
    return names + [Column(title, _in_part(title)) for title in titles] if titles else []


def _in_part(title: str) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        part = row.parts.get(title)
        return "" if part is None else f"{part.accuracy:.1f} {_span(part.interval)} of {part.questions}"

    return text


def write_markdown(table: Table, path: Path) -> None:
    """Write the table as a Markdown page, atomically."""
    shown = columns(table)
    lines = [f"# {markdown_text(table.title)}", ""]
    lines += [f"{markdown_text(table.caption)}", ""] if table.caption else []
    lines += markdown_table(
        [column.heading for column in shown],
        ([column.text(row) for column in shown] for row in table.rows),
        [column.numeric for column in shown],
    )
    lines += ["", *(f"* {markdown_text(column.heading)}: {column.meaning}." for column in shown if column.meaning)]
    lines += [f"* Note: {markdown_text(note)}." for note in table.notes]
    if parts := part_columns(table):
        lines += ["", PARTS_TITLE, ""]
        lines += markdown_table(
            [column.heading for column in parts],
            ([column.text(row) for column in parts] for row in table.rows),
            [column.numeric for column in parts],
        )
    with atomic_open(path) as out:
        out.write("\n".join(lines) + "\n")


PARTS_TITLE = "## Parts of the questions: accuracy [95 % interval] of how many"

TEXT, COUNT, NUMBER = "string", "Int64", "Float64"
"""Column types of pandas that know an empty field."""

FIELDS: dict[str, tuple[str, Callable[[Row], object]]] = {
    "task": (TEXT, lambda row: row.task),
    "model": (TEXT, lambda row: row.model),
    "recipe": (TEXT, lambda row: row.recipe),
    "arm": (TEXT, lambda row: row.arm),
    "swept": (TEXT, lambda row: canonical_json(row.swept) if row.swept else None),
    "accuracy": (NUMBER, lambda row: row.accuracy),
    "low": (NUMBER, lambda row: row.interval[0]),
    "high": (NUMBER, lambda row: row.interval[1]),
    "questions": (COUNT, lambda row: row.questions),
    "seeds": (TEXT, lambda row: " ".join(map(str, row.seeds))),
    "unparsable": (NUMBER, lambda row: row.unparsable),
    "truncated": (NUMBER, lambda row: row.truncated),
    "raised": (NUMBER, lambda row: row.raised),
    "rounds": (TEXT, lambda row: " ".join(map(_number, row.rounds)) or None),
    "difference": (NUMBER, lambda row: row.difference),
    "difference_low": (NUMBER, lambda row: row.difference_interval and row.difference_interval[0]),
    "difference_high": (NUMBER, lambda row: row.difference_interval and row.difference_interval[1]),
    "published": (NUMBER, lambda row: row.published),
    "published_source": (TEXT, lambda row: row.published_source),
    "verdict": (TEXT, lambda row: row.verdict or None),
    "samples_used": (NUMBER, lambda row: row.samples_used),
    "training_rows": (NUMBER, lambda row: row.training_rows),
    "updates": (NUMBER, lambda row: row.updates),
    "train_seconds": (NUMBER, lambda row: row.train_seconds),
    "device": (TEXT, lambda row: row.device),
}
"""Columns for programs: type, and value in a row. Lists (`seeds`, `rounds`) are texts with spaces between the items."""


PART_FIELDS: dict[str, Callable[[PartScore], float]] = {
    "accuracy": lambda part: part.accuracy,
    "low": lambda part: part.interval[0],
    "high": lambda part: part.interval[1],
    "questions": lambda part: part.questions,
}
"""Columns of a part of the questions, as `wording: seen, accuracy`."""


def _of_part(title: str, value: Callable[[PartScore], float]) -> Callable[[Row], float | None]:
    return lambda row: value(row.parts[title]) if title in row.parts else None


def to_frame(table: Table) -> "pd.DataFrame":
    """The table for programs: one line per row. Last come the accuracies under other graders (`accuracy_<grader>`) and
    on parts of the questions (`<field>: <part>, accuracy`).

    Accuracies, shares and intervals are in percent, rounded as in the printed table; an empty field is `pandas.NA`.
    """
    import pandas as pd

    fields = dict(FIELDS)
    for grader in table.other_graders:
        fields[f"accuracy_{grader}"] = NUMBER, _under(grader)
    for title in dict.fromkeys(title for row in table.rows for title in row.parts):
        for key, value in PART_FIELDS.items():
            fields[f"{title}, {key}"] = NUMBER, _of_part(title, value)
    return pd.DataFrame(
        {name: pd.array([value(row) for row in table.rows], dtype=kind) for name, (kind, value) in fields.items()}
    )


def write_csv(table: Table, path: Path) -> None:
    """Write the frame of a table as CSV, atomically: the shortest decimal number that is the same double."""
    text = to_frame(table).to_csv(index=False, lineterminator="\n", float_format=lambda number: repr(float(number)))
    with atomic_open(path) as out:
        out.write(text)


def write_parquet(table: Table, path: Path) -> None:
    """Write the frame of a table as Parquet, atomically.

    The file holds the columns and their types, but no notes of pandas about itself: those change with its version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = io.BytesIO()
    columns = pa.Table.from_pandas(to_frame(table), preserve_index=False)
    pq.write_table(columns.replace_schema_metadata(None), data)
    with atomic_open(path, "wb") as out:
        out.write(data.getvalue())


def write_html(table: Table, path: Path) -> None:
    """Write the table and its sample viewer as one self-contained page, atomically."""
    # The first row of each block of one task and model is set off by a line.
    blocks = [(row.task, row.model) for row in table.rows]
    starts = [place for place, block in enumerate(blocks) if place and block != blocks[place - 1]]
    page = render(
        PAGE,
        title=table.title,
        table=table,
        columns=columns(table),
        parts=part_columns(table),
        style=_style,
        starts=starts,
        longest=LONGEST_TEXT,
    )
    with atomic_open(path) as out:
        out.write(page)


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
    """The number with as many digits as the paper gives, and its place in the paper."""
    if row.published is None:
        return ""
    return f"{row.published:g} ({row.published_source})" if row.published_source else f"{row.published:g}"


def _under(grader: str) -> Callable[[Row], float | None]:
    return lambda row: row.others.get(grader)


def _printed_under(grader: str) -> Callable[[Row], str]:
    return lambda row: _number(row.others.get(grader))
