"""Fine-tune-CoT's released completions (arXiv 2212.10071): rationale call and answer call of one teacher.

    D_{task}.json    completions by question, with the prompts and finish reasons of both calls

Questions come from the data sets of the same release, by the row of the published file.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from distillery.errors import UserError
from distillery.records import Completion, FinishReason, Question, Split
from distillery.tasks.released.common import (
    FETCH,
    read_array,
    read_release,
    reads_release,
    replayed_completion,
    replayed_question,
)

Samples = Literal["greedy", "all"]


@reads_release
def fine_tune_cot_questions(task: str, dataset: Path, split: Path) -> dict[Split, list[Question]]:
    """Questions of a Fine-tune-CoT data set, per split in the order of the split file.

    Raises:
        UserError: The split file names a row that the data set does not have.

    Source: Fine-tune-CoT (arXiv 2212.10071), released `dataset/` and `data/split/`; specification section 5.1.
    """
    rows = read_array(dataset)
    questions: dict[Split, list[Question]] = {}
    splits: Mapping[Split, list[int]] = read_release(split)
    for name, numbers in splits.items():
        missing = [number for number in numbers if not 0 <= number < len(rows)]
        if missing:
            raise UserError("no such rows in the data set", file=split, key=name, value=missing[:5], remedy=FETCH)
        questions[name] = [
            replayed_question(task, name, number, rows[number]["question"], rows[number]["answer"])
            for number in numbers
        ]
    return questions


@reads_release
def fine_tune_cot_completions(
    path: Path, questions: Iterable[Question], sampler: str, samples: Samples = "greedy"
) -> list[Completion]:
    """Completions of a released teacher file (`D_{task}.json`) for `questions`.

    Args:
        path: The file; its name says the data set, and so must its metadata.
        questions: Which questions are wanted; completions of others (another split) are left out.
        sampler: Name for the records.
        samples: `greedy` takes completion 0 of each question. Some files hold 5 or 25 more for a few questions, sampled
            for another experiment; `all` keeps them as samples 1, 2, ...

    Raises:
        UserError: Name and metadata of the file disagree, a question has no completion, or another text or gold answer.

    Source: Fine-tune-CoT, specification sections 5.1 and 5.3. `metadata.method` is wrong in the released files and is
    not read.
    """
    document = read_release(path)
    named = re.fullmatch(r"D_([a-z_0-9]+?)(?:__.*)?\.json", path.name)
    said = document.get("metadata", {}).get("dataset_key")
    if named is None or named[1] != said:
        raise UserError(
            "the file's name and its metadata name different data sets",
            file=path,
            key="metadata.dataset_key",
            value=said,
            remedy="Restore the released file name, D_{data set}.json",
        )
    completions = []
    for question in questions:
        row = question.meta["row"]
        found = {item["completion_index"]: item for item in document["data"].get(str(row), [])}
        if 0 not in found:
            raise UserError(f"no completion 0 for {question.qid}", file=path, key=f"data.{row}", remedy=FETCH)
        for index in sorted(found) if samples == "all" else [0]:
            item = found[index]
            if (item["question"], item["answer"]) != (question.question, question.gold):
                raise UserError(
                    f"question or answer differ from those of {question.qid}",
                    file=path,
                    key=f"data.{row}",
                    remedy="Use completions and data set of one release",
                )
            reason: FinishReason = "length" if item["reasoning_finish_reason"] == "length" else "stop"
            completions.append(
                replayed_completion(
                    sampler,
                    question.qid,
                    index,
                    prompt=item["reasoning_prompt"],
                    text=item["reasoning_completion"],
                    answer_text=item["completion"],
                    finish_reason=reason,
                )
            )
    return completions
