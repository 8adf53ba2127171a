"""PaD's public program files (arXiv 2305.13888).

    test_add_code.json, *refine-train*.json   GSM8K rows with a teacher program: question, answer, code, num_answer
    gpt-reponse-code.json                     chat replies to symbolic questions, no gold: input_question, choices
    results.txt                               programs of a trained student with what running them gave: code, output

All are JSON lines, and paths differ between README, scripts and releases: the importer takes an explicit path and
joins by the question's text, never by position. The files hold GSM8K **test** questions: for tests of filter, execution
and scoring, never for training.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distillery.errors import UserError
from distillery.foreign import json_lines, read_text
from distillery.records import Completion, FinishReason, Question, Split
from distillery.tasks.released.common import reads_release, replayed_completion

_FETCH = "Fetch the released file again, as JSON lines"


@reads_release
def pad_questions(path: Path, task: str, split: Split, first: int) -> list[Question]:
    """The questions of a file of teacher programs, with their gold answers and worked solutions.

    Args:
        path: The file.
        task: Task of the records.
        split: Its split.
        first: Row of the data set that the file's first row is: 4 for GSM8K test, whose first four are exemplars.

    Raises:
        UserError: A row has no gold answer, or two: `num_answer` and the text after `####` differ.

    Source: PaD (arXiv 2305.13888), released `test_add_code.json`; specification, section 6.1.
    """
    questions = []
    for number, row in enumerate(_rows(path)):
        gold, _, said = str(row.get("num_answer", "")), *str(row.get("answer", "")).rpartition("####")[1:]
        if not gold or gold.replace(",", "") != said.replace(",", "").strip():
            raise UserError(
                "no gold answer, or two different ones", file=path, key=f"row {number}", value=gold, remedy=_FETCH
            )
        questions.append(
            Question(
                qid=f"{task}-{split}-{number + first:05d}",
                task=task,
                question=row["question"],
                gold=gold,
                rationale=row["answer"],
                meta={"row": number + first},
            )
        )
    return questions


@reads_release
def pad_completions(path: Path, questions: Iterable[Question], sampler: str) -> list[Completion]:
    """What a model wrote for `questions`, unfiltered, in the order of the file; one completion for each row.

    Raises:
        UserError: A row belongs to none of the questions, or has another layout than the three released ones.

    Source: PaD, released files; specification, section 6.1.
    """
    by_text = {_plain(question.question): question for question in questions}
    last: dict[str, int] = {}
    completions = []
    for number, row in enumerate(_rows(path)):
        text_of_question = row.get("question", row.get("input_question"))
        question = by_text.get(_plain(str(text_of_question)))
        if question is None:
            raise UserError(
                "the row belongs to none of the questions",
                file=path,
                key=f"row {number}",
                value=text_of_question,
                remedy=_FETCH,
            )
        text, finish_reason = _reply(row, path, number)
        index = last[question.qid] = last.get(question.qid, -1) + 1
        completions.append(
            replayed_completion(
                sampler,
                question.qid,
                index,
                prompt=str(text_of_question),
                text=text,
                answer_text=None,
                finish_reason=finish_reason,
            )
        )
    return completions


@reads_release
def pad_recorded_outputs(path: Path) -> list[str | None]:
    """What the authors recorded for each student program: its one printed line, or None if it ended in a traceback.

    Raises:
        UserError: A row's `output` is neither.
    """
    recorded: list[str | None] = []
    for number, row in enumerate(_rows(path)):
        output = row.get("output")
        if isinstance(output, list) and len(output) == 1:
            recorded.append(output[0])
        elif isinstance(output, str) and output.startswith("Error: "):
            recorded.append(None)
        else:
            raise UserError("neither one printed line nor an error", file=path, key=f"row {number}", remedy=_FETCH)
    return recorded


def _rows(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, row in json_lines(read_text(path), path, remedy=_FETCH):
        if not isinstance(row, dict):
            raise UserError("not a JSON object", file=path, line=number, remedy=_FETCH)
        rows.append(row)
    return rows


def _reply(row: dict[str, Any], path: Path, number: int) -> tuple[str, FinishReason]:
    if isinstance(row.get("code"), str):
        return row["code"], "stop"
    try:
        choice = row["choices"][0]
        return choice["message"]["content"], "length" if choice["finish_reason"] == "length" else "stop"
    except (KeyError, IndexError, TypeError) as error:
        raise UserError("neither `code` nor `choices`", file=path, key=f"row {number}", remedy=_FETCH) from error


def _plain(text: str) -> str:
    """A question's text with single spaces: the files differ in line breaks and double spaces."""
    return " ".join(text.split())
