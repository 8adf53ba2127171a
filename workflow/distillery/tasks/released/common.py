"""What the readers of releases share: published arrays, and records that were not sampled here."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pydantic import ValidationError

from distillery.errors import UserError
from distillery.foreign import parse_json, read_text
from distillery.hashing import canonical_json
from distillery.records import Completion, FinishReason, Question, Split

FETCH = "Fetch the released files again, all from one release"

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def reads_release(reader: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Wraps a reader: what a file of another layout makes it raise becomes one error that names the file.

    Released files have no schema. A reader takes the fields that it needs, and a missing field, or a number where a
    text belongs, is a fault of the file.
    """

    @functools.wraps(reader)
    def refusing(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return reader(*args, **kwargs)
        except UserError:
            raise
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            paths = [str(value) for value in (*args, *kwargs.values()) if isinstance(value, Path)]
            said = str(error)
            if isinstance(error, ValidationError):
                first = error.errors(include_url=False)[0]
                said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            problem = f"not in the layout of the release ({type(error).__name__}: {said})"
            raise UserError(problem, file=", ".join(paths), remedy=FETCH) from error

    return refusing


def read_release(path: Path) -> Any:
    """The JSON document of a released file.

    Raises:
        UserError: It cannot be read, or is not JSON.
    """
    return parse_json(read_text(path), path, remedy=FETCH)


def read_array(path: Path) -> list[dict[str, Any]]:
    """Rows of a published JSON array.

    Raises:
        UserError: The file cannot be read, or holds something else.
    """
    rows = read_release(path)
    if isinstance(rows, dict):  # the final format of Fine-tune-CoT wraps the array
        rows = rows.get("data")
    if not isinstance(rows, list):
        raise UserError("neither a JSON array nor an object with one under `data`", file=path, remedy=FETCH)
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise UserError("not a JSON object", file=path, key=f"row {place}", remedy=FETCH)
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
