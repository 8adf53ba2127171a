"""Records: what one stage hands to the next, one JSON object a line.

Equal content is equal bytes: UTF-8, sorted keys, LF, records sorted by their key; so a file that did not change stops
the wave of recomputation behind it. Files appear whole or not at all (`distillery.files`).

    questions/   Question     a task's question and its gold answer
    completions/ Completion   all that a model wrote for one question, once
    verdicts/    Verdict      one grader's judgement on one completion
    rows/        TrainingRow  one prompt and target for a student
    predictions/ Completion   a completion of a test question
    scores/      GradedPrediction   a prediction with its verdicts, per question
"""

import itertools
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from distillery.errors import UserError
from distillery.files import atomic_open
from distillery.hashing import canonical_json

Split = Literal["train", "dev", "test"]
FinishReason = Literal["stop", "length", "refused", "failed"]


class Outcome(StrEnum):
    """The closed list of verdicts. Every count of completions is the sum over these; the last two are of programs."""

    RIGHT = "right"
    WRONG = "wrong"
    UNPARSABLE = "unparsable"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    FAILED = "failed"
    REJECTED = "rejected"
    """The sandbox's gate did not let the program run."""
    RAISED = "raised"
    """The program raised, or ran out of time, memory or output."""


class Record(BaseModel):
    """Base of all records: unknown fields are refused, values are frozen, `sort_key` orders the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sort_fields: ClassVar[tuple[str, ...]] = ()

    def sort_key(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field) for field in self.sort_fields)

    def to_json(self) -> str:
        return canonical_json(self.model_dump(mode="json"))


R = TypeVar("R", bound=Record)


class Question(Record):
    """One question of a task with its gold answer.

    `rationale` is a gold worked solution where the source has one (generated tasks do); only exemplars show it to a
    model. `meta` says where the question came from (template, steps, source row), for analysis only.
    """

    sort_fields = ("qid",)
    qid: str
    task: str
    question: str
    gold: str
    rationale: str | None = None
    meta: dict[str, Any] = {}


class Completion(Record):
    """All that a model wrote for one question, once. The store keeps its prompt, under `completion_id`."""

    sort_fields: ClassVar[tuple[str, ...]] = ("qid", "sample_index")
    completion_id: str
    qid: str
    sampler: str
    sample_index: int
    text: str
    finish_reason: FinishReason
    answer_text: str | None = None
    """What the second call of a two-call prompt wrote (Zero-shot-CoT); None for one-call prompts."""
    answer_id: str | None = None
    """The second call's name in the store."""
    prompt_tokens: int
    completion_tokens: int


class Verdict(Record):
    """One grader's judgement on one completion; `reason` says in words how it was reached."""

    sort_fields = ("qid", "sample_index", "grader")
    completion_id: str
    qid: str
    sample_index: int
    grader: str
    outcome: Outcome
    answer: str | None
    reason: str


class TrainingRow(Record):
    """One prompt and target. `source` is the recipe's name for where it came from (`teacher`, `mentor`, `gold`)."""

    sort_fields = ("qid", "source", "sample_index")
    qid: str
    source: str
    sample_index: int
    completion_id: str | None
    prompt: str
    target: str


class Draft(Record):
    """A version of a prediction: what the student wrote in a round of self-refinement, and what went wrong with it."""

    sort_fields = ("qid", "round")
    qid: str
    round: int
    completion_id: str
    text: str
    feedback: str | None
    """What a user of the program would see; None: it runs, and is kept."""


class GradedPrediction(Record):
    """A test question, what the student wrote, and each grader's verdict: a table cell is a sum over these."""

    sort_fields = ("qid",)
    qid: str
    question: str
    gold: str
    text: str
    answer_text: str | None
    finish_reason: FinishReason
    completion_tokens: int
    outcomes: dict[str, Outcome]
    answers: dict[str, str | None]


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Write `records` sorted by their key, atomically; return how many there are.

    Raises:
        ValueError: Two records share a key, so that a join by it would be wrong.
    """
    rows = sorted(records, key=lambda record: record.sort_key())
    for before, after in itertools.pairwise(rows):
        if before.sort_key() == after.sort_key():
            raise ValueError(f"{path}: two {type(after).__name__} records with the key {after.sort_key()}")
    with atomic_open(path) as out:
        for row in rows:
            out.write(row.to_json() + "\n")
    return len(rows)


def read_records(path: Path, kind: type[R]) -> Iterator[R]:
    """Yield the records of a file, checked against `kind`.

    Raises:
        UserError: A line is not valid JSON or does not fit the record type; the message names file and line.
    """
    with open(path, encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                raise UserError(
                    f"not a {kind.__name__} record: {first['msg']}",
                    file=path,
                    key=f"line {number}, {'.'.join(map(str, first['loc'])) or 'whole line'}",
                    remedy="Delete the file and run the workflow again; it is made anew",
                ) from error
