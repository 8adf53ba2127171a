"""The short form of a table for people: the columns of README.md, read from the CSV that a run wrote.

>>> row = {"task": "t", "model": "m", "arm": "PaD", "accuracy": "40.5", "low": "33.9", "high": "47.4"}
>>> row |= {"training_rows": "304.0", "updates": "80.0", "train_seconds": "218.6"}
>>> short_table([row])[1]
['m', 'PaD', '40.5 [33.9, 47.4]', '304', '80', '219 s']
>>> better = {"difference": "3.5", "difference_low": "-1.0", "difference_high": "8.0"}
>>> [line[3] for line in short_table([row, row | better])]
['difference [95 % interval]', 'baseline', '+3.5 [-1.0, +8.0]']
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

WORDS = ("task", "model", "arm")
"""Columns that hold words; the others hold numbers. The task is shown where a table has several."""


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a `table.csv`; an empty field is an empty text."""
    with open(path, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def short_table(rows: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """The headings, then the fields of each row."""
    named = WORDS if len({row["task"] for row in rows}) > 1 else WORDS[1:]
    compared = {_compared(row) for row in rows if row.get("difference")}
    differences = ["difference [95 % interval]"] if compared else []
    lines = [[*named, "accuracy [95 % interval]", *differences, "rows", "updates", "training"]]
    for row in rows:
        accuracy = f"{row['accuracy']} [{row['low']}, {row['high']}]" if row["accuracy"] else ""
        difference = "baseline" if _compared(row) in compared and row["training_rows"] else ""
        if row.get("difference"):
            difference = (
                f"{_signed(row['difference'])} [{_signed(row['difference_low'])}, {_signed(row['difference_high'])}]"
            )
        counts = [f"{float(row[name]):g}" if row.get(name) else "" for name in ("training_rows", "updates")]
        seconds = f"{float(row['train_seconds']):.0f} s" if row["train_seconds"] else ""
        lines.append(
            [*(row[name] for name in named), accuracy, *([difference] if differences else []), *counts, seconds]
        )
    return lines


def _compared(row: Mapping[str, str]) -> tuple[str, str]:
    """What a baseline is shared by: the task and the model."""
    return row["task"], row["model"]


def _signed(number: str) -> str:
    return f"{float(number):+.1f}"
