"""The short form of a table for people: the columns of README.md, read from the CSV that a run wrote.

>>> row = {"task": "t", "model": "m", "arm": "PaD", "accuracy": "40.5", "low": "33.9", "high": "47.4"}
>>> short_table([{**row, "training_rows": "304.0", "train_seconds": "218.6"}])[1]
['m', 'PaD', '40.5 [33.9, 47.4]', '304', '219 s']
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
    lines = [[*named, "accuracy [95 % interval]", "rows", "training"]]
    for row in rows:
        accuracy = f"{row['accuracy']} [{row['low']}, {row['high']}]" if row["accuracy"] else ""
        count = f"{float(row['training_rows']):g}" if row["training_rows"] else ""
        seconds = f"{float(row['train_seconds']):.0f} s" if row["train_seconds"] else ""
        lines.append([*(row[name] for name in named), accuracy, count, seconds])
    return lines
