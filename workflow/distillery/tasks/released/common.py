"""What the readers of releases share: published arrays, and records that were not sampled here."""

import hashlib
from pathlib import Path
from typing import Any

from distillery.errors import UserError
from distillery.files import read_json
from distillery.hashing import canonical_json
from distillery.records import Completion, FinishReason, Question, Split

FETCH = "Fetch the released files again, all from one release"


def read_array(path: Path) -> list[dict[str, Any]]:
    """Rows of a published JSON array.

    Raises:
        UserError: The file holds something else.
    """
    rows: Any = read_json(path)
    if isinstance(rows, dict):  # the final format of Fine-tune-CoT wraps the array
        rows = rows.get("data")
    if not isinstance(rows, list):
        raise UserError("neither a JSON array nor an object with one under `data`", file=path, remedy=FETCH)
    return rows


def replayed_question(task: str, split: Split, row: int, text: str, gold: str) -> Question:
    """A question named as `distillery.tasks` names it: by task, split and row of the published file."""
    return Question(qid=f"{task}-{split}-{row:05d}", task=task, question=text, gold=gold, meta={"row": row})


def replayed_completion(
    sampler: str,
    qid: str,
    sample_index: int,
    *,
    prompt: str,
    text: str,
    answer_text: str | None,
    finish_reason: FinishReason,
) -> Completion:
    """A completion that was not sampled here. Its token counts are unknown, and 0."""
    return Completion(
        completion_id=replayed_id(sampler, qid, sample_index, prompt, text, answer_text),
        qid=qid,
        sampler=sampler,
        sample_index=sample_index,
        text=text,
        finish_reason=finish_reason,
        answer_text=answer_text,
        prompt_tokens=0,
        completion_tokens=0,
    )


def replayed_id(*known: str | int | None) -> str:
    """The name of a completion that was not sampled here follows from all that is known about it."""
    return hashlib.sha256(canonical_json(["replay", *known]).encode()).hexdigest()[:32]
