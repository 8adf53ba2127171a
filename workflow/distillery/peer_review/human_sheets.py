"""Sheets: people as reviewers. A sheet of rationales goes out, and comes back with scores.

    rationale_id   question   hint   rationale   score   note

`score` is filled in by the reviewer, `note` may be; the rest is for reading. The author is not shown, and the order is
drawn, so that neighbours in the sheet say nothing about who wrote them. A sheet is CSV (for a spreadsheet) or JSON
Lines, by its suffix, and comes back in the same form. What comes back is checked row by row, all faults in one message;
a score left blank becomes a review without a score, so that the counts add up.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
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
"""A spreadsheet computes what begins so; text of a model is data from a stranger."""


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
        assignments: Of all reviewers; those of `reviewer` are taken.
        mistakes: Their questions.
        path: `.csv` or `.jsonl`.
        hint: Whether the gold answer is shown, as the paper shows it to its reviewers.
        seed: Draws the order of the rows.

    Raises:
        UserError: Another suffix, or a question of none of the mistakes.
    """
    asked = {mistake.qid: mistake for mistake in mistakes}
    own = sorted(
        (one for one in assignments if one.reviewer == reviewer),
        key=lambda one: draw_key(seed, "sheet", one.rationale.completion_id),
    )
    rows = []
    for one in own:
        if one.qid not in asked:
            raise UserError("a rationale for a question that is no mistake", key="qid", value=one.qid)
        mistake = asked[one.qid]
        given = (one.rationale.completion_id, mistake.question, mistake.gold if hint else "", one.rationale.text)
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
        UserError: The file cannot be read as such a sheet, or the name is none.
        UserErrors: Every row with an unknown or doubled rationale or a score that is none, and every rationale that is
            missing.
    """
    own = {one.rationale.completion_id: one for one in assignments if one.reviewer == reviewer}
    if not re.match(NAME_PATTERN, reviewer) or not own:
        raise UserError(
            "nothing is assigned to this reviewer",
            file=path,
            key="reviewer",
            value=reviewer,
            remedy=f"Reviewers are {', '.join(sorted({one.reviewer for one in assignments})) or 'not routed yet'}",
        )
    faults: list[UserError] = []
    found: dict[str, Review] = {}
    for row in _rows(path):
        if row.rationale_id not in own:
            faults.append(_fault(path, row, "rationale_id", "not a rationale of this reviewer's sheet", _RESTORE))
        elif row.rationale_id in found:
            faults.append(_fault(path, row, "rationale_id", "this rationale stands twice", "Keep one of the rows"))
        elif row.score and not re.fullmatch(rf"[{LOWEST}-{HIGHEST}]", row.score):
            remedy = "Write one of them, or leave the field blank"
            faults.append(_fault(path, row, "score", f"not a whole number from {LOWEST} to {HIGHEST}", remedy))
        else:
            reason = None if row.score else "left blank"
            found[row.rationale_id] = _review(own[row.rationale_id], row, reason)
            continue
        own.pop(row.rationale_id, None)  # named already: not missing as well
    faults += [
        UserError("the sheet lacks a rationale", file=path, key="rationale_id", value=one, remedy=_RESTORE)
        for one in own
        if one not in found
    ]
    if faults:
        raise UserErrors(faults)
    return [found[one] for one in own]


_RESTORE = "Write the sheet anew, and copy the scores"


class _Row(NamedTuple):
    line: int
    rationale_id: str
    score: str


def _review(one: Assignment, row: _Row, reason: str | None) -> Review:
    return Review(
        qid=one.qid,
        author=one.author,
        reviewer=one.reviewer,
        rationale_id=one.rationale.completion_id,
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
                f"there is no {' and no '.join(missing)}", file=path, key=f"line {line}", remedy="Keep the columns"
            )
        yield _Row(line, str(row["rationale_id"] or "").strip(), _as_text(row["score"]))


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    header = text.split("\n", 1)[0]
    lines = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True)
    try:
        if not {"rationale_id", "score"} <= set(lines.fieldnames or ()):
            raise UserError(
                "the header lacks rationale_id or score", file=path, key="line 1", value=header, remedy=_RESTORE
            )
        start = lines.line_num + 1
        for row in lines:
            if any(row.values()):  # spreadsheets keep empty rows at the end
                yield start, row
            start = lines.line_num + 1  # a rationale in quotes goes over several lines
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
    """The score as text. `true` is no 1, and 4.0 no 4: they are refused as written."""
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
