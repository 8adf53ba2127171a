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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distillery.config.base import NAME_PATTERN
from distillery.errors import UserError, UserErrors
from distillery.files import atomic_open
from distillery.foreign import csv_rows, json_lines, read_text
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
        text.writelines(_csv_line(row) for row in (COLUMNS, *(map(_harmless, row.values()) for row in rows)))
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
        UserErrors: Every row with an unknown or repeated rationale, the text of another rationale or an invalid score,
            and every missing rationale.
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
        elif row.rationale and _another(row.rationale, own[row.rationale_id].rationale.text):
            problem = "the rationale of this row is another text; was a column sorted alone?"
            faults.append(_fault(path, row, "rationale_id", problem, _RESTORE))
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


_COMPARED = 300
"""Words of a rationale that are compared."""

_RESTORE = "Write the sheet again, and copy the scores into it"


class _Row(NamedTuple):
    line: int
    rationale_id: str
    score: str
    rationale: str
    """As the sheet has it; empty where the column was removed."""


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
    text = read_text(path)
    rows: Iterable[tuple[int, Mapping[str, Any]]]
    if _form(path) == ".csv":
        delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
        rows = csv_rows(text, path, delimiter=delimiter, ragged=True, needed=("rationale_id", "score"))
    else:
        rows = json_lines(text, path, remedy=_RESTORE)
    for line, row in rows:
        if not isinstance(row, dict):
            raise UserError("not a JSON object", file=path, line=line, remedy=_RESTORE)
        missing = [column for column in ("rationale_id", "score") if column not in row]
        if missing:
            problem = f"the row lacks {' and '.join(missing)}"
            raise UserError(problem, file=path, line=line, remedy="Keep the columns")
        if any(map(_as_text, row.values())):  # spreadsheets keep empty rows at the end
            yield _Row(
                line,
                _as_written(_as_text(row["rationale_id"])),
                _as_text(row["score"]),
                _as_text(row.get("rationale")),
            )


def _as_text(value: object) -> str:
    """The score as text. `true` is not 1, and 4.0 is not 4: both are refused."""
    return "" if value is None else str(value).strip()


def _another(shown: str, written: str) -> bool:
    """Whether a sheet shows another rationale than the written one, by its first words.

    A spreadsheet changes line breaks, spaces, numbers and dates, and cuts a cell after 32,767 characters.
    """
    words, others = (re.findall(r"[^\W\d_]{2,}", text.casefold())[:_COMPARED] for text in (shown, written))
    return len(written) < 30_000 and len(others) > 4 and words != others


def _form(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".jsonl"):
        raise UserError("a sheet is .csv or .jsonl", file=path, key="suffix", value=path.suffix)
    return suffix


def _csv_line(fields: Iterable[str]) -> str:
    """One row of a CSV file. Fields with a carriage return are quoted too, which a writer of LF lines leaves out."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(fields)
    return line.getvalue().removesuffix("\r\n") + "\n"


def _harmless(value: str) -> str:
    """A text that a spreadsheet takes for a text. NUL has no place in a text file; its symbol stands for it."""
    text = value.replace("\0", "\N{SYMBOL FOR NULL}")
    return "'" + text if text.startswith(_FORMULA) else text


def _as_written(value: str) -> str:
    """An id without the sign that keeps it from being a formula."""
    return value[1:] if value.startswith("'") and value[1:].startswith(_FORMULA) else value


def _fault(path: Path, row: _Row, key: str, problem: str, remedy: str) -> UserError:
    value = row.rationale_id if key == "rationale_id" else row.score
    return UserError(problem, file=path, key=f"line {row.line}, {key}", value=value, remedy=remedy)
