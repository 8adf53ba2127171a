"""Sheets: people as reviewers. A sheet of rationales goes out, and comes back with scores.

    rationale_id   question   hint   rationale   score   note

The reviewer fills in `score`, and may fill in `note`. The author is not shown, and the order is random, so that the
position of a rationale does not reveal its author. A sheet is CSV (for a spreadsheet) or JSON Lines, by its suffix, and
is read in the same form. All faults of a filled sheet are reported in one message. A blank score becomes a review
without a score, so that the counts add up.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from distillery.config.base import NAME_PATTERN
from distillery.errors import UserError, UserErrors
from distillery.files import atomic_open
from distillery.hashing import draw_key
from distillery.peer_review.assignments import Assignment
from distillery.peer_review.records import HIGHEST, LOWEST, Mistake, Review

COLUMNS = ("rationale_id", "question", "hint", "rationale", "score", "note")

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet treats text with one of these first characters as a formula; models must not write formulas."""


def write_sheet(
    assignments: Sequence[Assignment],
    mistakes: Sequence[Mistake],
    path: Path,
    *,
    reviewer: str,
    hint: bool = True,
    seed: int = 0,
) -> int:
    """Write the sheet of one reviewer, atomically; return how many rationales it has.

    Args:
        assignments: Of all reviewers; only those of `reviewer` are used.
        mistakes: Their questions.
        path: `.csv` or `.jsonl`.
        hint: Whether the gold answer is shown, as the paper shows it to its reviewers.
        seed: Seed of the order of the rows.

    Raises:
        UserError: The suffix is another, or a question belongs to no mistake.
    """
    by_qid = {mistake.qid: mistake for mistake in mistakes}
    own = sorted(
        (assignment for assignment in assignments if assignment.reviewer == reviewer),
        key=lambda assignment: draw_key(seed, "sheet", assignment.rationale.completion_id),
    )
    rows = []
    for assignment in own:
        if assignment.qid not in by_qid:
            raise UserError(
                "a rationale for a question that is not among the mistakes", key="qid", value=assignment.qid
            )
        mistake = by_qid[assignment.qid]
        given = (
            assignment.rationale.completion_id,
            mistake.question,
            mistake.gold if hint else "",
            assignment.rationale.text,
        )
        rows.append(dict(zip(COLUMNS, (*given, "", ""), strict=True)))
    text = io.StringIO()
    if _form(path) == ".csv":
        lines = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        lines.writeheader()
        lines.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)
    else:
        text.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with atomic_open(path) as out:
        out.write(text.getvalue())
    return len(rows)


def read_sheet(path: Path, assignments: Sequence[Assignment], *, reviewer: str) -> list[Review]:
    """The reviews of a filled sheet, in the order of the assignments.

    Args:
        path: `.csv` (comma, semicolon or tab between the fields) or `.jsonl`.
        assignments: Of all reviewers, as the sheet was written from.
        reviewer: The name under which these reviews are stored; a name as in the config.

    Raises:
        UserError: The file is not such a sheet, or `reviewer` is not a valid name or has no assignment.
        UserErrors: Every row with an unknown or repeated rationale or an invalid score, and every missing rationale.
    """
    own = {
        assignment.rationale.completion_id: assignment for assignment in assignments if assignment.reviewer == reviewer
    }
    if not re.match(NAME_PATTERN, reviewer) or not own:
        raise UserError(
            "nothing is assigned to this reviewer",
            file=path,
            key="reviewer",
            value=reviewer,
            remedy=f"Reviewers are {', '.join(sorted({one.reviewer for one in assignments})) or 'not assigned yet'}",
        )
    faults: list[UserError] = []
    found: dict[str, Review] = {}
    for row in _rows(path):
        if row.rationale_id not in own:
            faults.append(_fault(path, row, "rationale_id", "not a rationale of this reviewer's sheet", _RESTORE))
        elif row.rationale_id in found:
            faults.append(_fault(path, row, "rationale_id", "this rationale has two rows", "Keep one of them"))
        elif row.score and not re.fullmatch(rf"[{LOWEST}-{HIGHEST}]", row.score):
            remedy = "Write such a number, or leave the field blank"
            faults.append(_fault(path, row, "score", f"not a whole number from {LOWEST} to {HIGHEST}", remedy))
        else:
            reason = None if row.score else "left blank"
            found[row.rationale_id] = _review(own[row.rationale_id], row, reason)
            continue
        own.pop(row.rationale_id, None)  # reported already: not missing as well
    faults += [
        UserError("the sheet lacks a rationale", file=path, key="rationale_id", value=rationale_id, remedy=_RESTORE)
        for rationale_id in own
        if rationale_id not in found
    ]
    if faults:
        raise UserErrors(faults)
    return [found[rationale_id] for rationale_id in own]


_RESTORE = "Write the sheet again, and copy the scores into it"


class _Row(NamedTuple):
    line: int
    rationale_id: str
    score: str


def _review(assignment: Assignment, row: _Row, reason: str | None) -> Review:
    return Review(
        qid=assignment.qid,
        author=assignment.author,
        reviewer=assignment.reviewer,
        rationale_id=assignment.rationale.completion_id,
        review_id=None,
        protocol="sheet",
        score=int(row.score) if reason is None else None,
        raw=row.score or None,
        path="score column",
        reason=reason,
    )


def _rows(path: Path) -> Iterator[_Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets put a byte order mark in front
    except UnicodeDecodeError as error:
        raise UserError("not a UTF-8 text", file=path, remedy="Save the sheet as CSV in UTF-8") from error
    read = _csv_rows if _form(path) == ".csv" else _json_rows
    for line, row in read(text, path):
        missing = [column for column in ("rationale_id", "score") if column not in row]
        if missing:
            raise UserError(
                f"the row lacks {' and '.join(missing)}", file=path, key=f"line {line}", remedy="Keep the columns"
            )
        yield _Row(line, str(row["rationale_id"] or "").strip(), _as_text(row["score"]))


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    header = text.split("\n", 1)[0]
    # csv.DictReader passes over empty lines without counting them.
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True)
    try:
        names = next(filter(None, lines), [])
        if not {"rationale_id", "score"} <= set(names):
            raise UserError(
                "the header lacks rationale_id or score", file=path, key="line 1", value=header, remedy=_RESTORE
            )
        start = lines.line_num + 1
        for fields in lines:
            if any(fields):  # spreadsheets keep empty rows at the end
                yield start, dict(zip_longest(names, fields[: len(names)]))
            start = lines.line_num + 1  # a rationale in quotes may have several lines
    except csv.Error as error:
        raise UserError(f"not CSV: {error}", file=path, key=f"line {lines.line_num}", remedy=_RESTORE) from error


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"not JSON: {error.msg}", file=path, key=f"line {number}", remedy=_RESTORE) from error
        if not isinstance(row, dict):
            raise UserError("not a JSON object", file=path, key=f"line {number}", remedy=_RESTORE)
        yield number, row


def _as_text(value: object) -> str:
    """The score as text. `true` is not 1, and 4.0 is not 4: both are refused."""
    return "" if value is None else str(value).strip()


def _form(path: Path) -> str:
    if path.suffix not in (".csv", ".jsonl"):
        raise UserError("a sheet is .csv or .jsonl", file=path, key="suffix", value=path.suffix)
    return path.suffix


def _harmless(value: str) -> str:
    return "'" + value if value.startswith(_FORMULA) else value


def _fault(path: Path, row: _Row, key: str, problem: str, remedy: str) -> UserError:
    value = row.rationale_id if key == "rationale_id" else row.score
    return UserError(problem, file=path, key=f"line {row.line}, {key}", value=value, remedy=remedy)
