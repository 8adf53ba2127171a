"""Replay: the public teacher outputs of Fine-tune-CoT and Mentor-KD, read as records.

    D_{task}.json                   Fine-tune-CoT completions: rationale call and answer call of one teacher
    {task}_train.json, _test.json   Mentor-KD questions (`skeleton`): the truth for labels
    {task}_3_train.json, ..._aug3   Mentor-KD teacher (`main`) and mentor (`aug`) rationales
    {task}_6.json                   Mentor-KD teacher outputs as collected (`prompt`)

Questions are named as `distillery.tasks` names them, `{task}-{split}-{row:05d}` with the row of the published file, and
completions are joined to them by row or by text, never by position in another file. Texts are kept byte for byte, white
space at the ends included. The files do not tell token counts: they are 0 here.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from distillery.canonical import canonical_json
from distillery.errors import UserError
from distillery.files import read_json
from distillery.records import Completion, FinishReason, Question, Split

Samples = Literal["greedy", "all"]


def fine_tune_cot_questions(task: str, dataset: Path, split: Path) -> dict[Split, list[Question]]:
    """Questions of a Fine-tune-CoT data set, per split in the order of the split file.

    Raises:
        UserError: The split file names a row that the data set does not have.

    Source: Fine-tune-CoT (arXiv 2212.10071), released `dataset/` and `data/split/`; specification section 5.1.
    """
    rows = _array(dataset)
    questions: dict[Split, list[Question]] = {}
    splits: Mapping[Split, list[int]] = read_json(split)  # type: ignore[assignment]
    for name, numbers in splits.items():
        missing = [number for number in numbers if not 0 <= number < len(rows)]
        if missing:
            raise UserError("no such rows in the data set", file=split, key=name, value=missing[:5], remedy=_FETCH)
        questions[name] = [
            _question(task, name, number, rows[number]["question"], rows[number]["answer"]) for number in numbers
        ]
    return questions


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
    document = read_json(path)
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
            raise UserError(f"no completion 0 for {question.qid}", file=path, key=f"data.{row}", remedy=_FETCH)
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
                replayed(
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


def mentor_kd_questions(task: str, train: Path, test: Path) -> dict[Split, list[Question]]:
    """Questions of a Mentor-KD data set (`skeleton/{task}_train.json` and `_test.json`).

    Source: Mentor-KD (arXiv 2410.09037), released `data/skeleton`; specification section 6.
    """
    files: dict[Split, Path] = {"train": train, "test": test}
    return {
        split: [_question(task, split, row, item["input"], item["answer"]) for row, item in enumerate(_array(path))]
        for split, path in files.items()
    }


def mentor_kd_completions(path: Path, questions: Iterable[Question], sampler: str) -> list[Completion]:
    """Rationales of a released Mentor-KD file, in the order of the file; `sample_index` counts those of one question.

    Three layouts are read: `aug` (`chain` is the rationale, `completion` the text after the arrow, hence
    `answer_text`), `main` (published after filtering, so the label stands for the answer) and `prompt` (whole outputs,
    up to 6 a question). How an output ended is not in the files: `finish_reason` is `stop`.

    Raises:
        UserError: The file holds a question that is not among `questions`, or a row of another layout.

    Source: Mentor-KD, released `data/main`, `data/aug` and `data/prompt`; specification section 6.
    """
    by_text = {question.question.strip(): question for question in questions}
    drawn: Counter[str] = Counter()
    completions = []
    for row, item in enumerate(_array(path)):
        text = item.get("input", item.get("instruction"))
        question = by_text.get(str(text).strip())
        if question is None:
            raise UserError("not a question of the data set", file=path, key=f"row {row}", value=text, remedy=_FETCH)
        if isinstance(item.get("output"), list):
            outputs = [(output, None) for output in item["output"]]
        elif "chain" in item:
            outputs = [(item["chain"], item.get("completion", item["answer"]))]
        else:
            raise UserError("neither `chain` nor a list of `output`", file=path, key=f"row {row}", remedy=_FETCH)
        for output, answer in outputs:
            completions.append(
                replayed(
                    sampler,
                    question.qid,
                    drawn[question.qid],
                    prompt=str(text),
                    text=output,
                    answer_text=answer,
                    finish_reason="stop",
                )
            )
            drawn[question.qid] += 1
    return completions


_FETCH = "Fetch the released files anew, all of one release"


def _array(path: Path) -> list[dict[str, Any]]:
    rows: Any = read_json(path)
    if isinstance(rows, dict):  # the final format of Fine-tune-CoT wraps the array
        rows = rows.get("data")
    if not isinstance(rows, list):
        raise UserError("neither a JSON array nor an object with one under `data`", file=path, remedy=_FETCH)
    return rows


def _question(task: str, split: Split, row: int, text: str, gold: str) -> Question:
    return Question(qid=f"{task}-{split}-{row:05d}", task=task, question=text, gold=gold, meta={"row": row})


def replayed(
    sampler: str,
    qid: str,
    sample_index: int,
    *,
    prompt: str,
    text: str,
    answer_text: str | None,
    finish_reason: FinishReason,
) -> Completion:
    """A completion that was not sampled here; its id follows from all that is known about it."""
    identity = canonical_json(["replay", sampler, qid, sample_index, prompt, text, answer_text])
    return Completion(
        completion_id=hashlib.sha256(identity.encode()).hexdigest()[:32],
        qid=qid,
        sampler=sampler,
        sample_index=sample_index,
        text=text,
        finish_reason=finish_reason,
        answer_text=answer_text,
        prompt_tokens=0,
        completion_tokens=0,
    )
