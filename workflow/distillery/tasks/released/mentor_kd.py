"""Mentor-KD's released rationales (arXiv 2410.09037) of teacher and mentor.

    {task}_train.json, _test.json   questions (`skeleton`): the truth for labels
    {task}_3_train.json, ..._aug3   teacher (`main`) and mentor (`aug`) rationales
    {task}_6.json                   teacher outputs as collected (`prompt`)

Rationales are joined to questions by text, never by position in another file.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from distillery.errors import UserError
from distillery.records import Completion, Question, Split
from distillery.tasks.released.common import FETCH, read_array, reads_release, replayed_completion, replayed_question


@reads_release
def mentor_kd_questions(task: str, train: Path, test: Path) -> dict[Split, list[Question]]:
    """Questions of a Mentor-KD data set (`skeleton/{task}_train.json` and `_test.json`).

    Source: Mentor-KD (arXiv 2410.09037), released `data/skeleton`; specification section 6.
    """
    files: dict[Split, Path] = {"train": train, "test": test}
    return {
        split: [
            replayed_question(task, split, row, item["input"], item["answer"])
            for row, item in enumerate(read_array(path))
        ]
        for split, path in files.items()
    }


@reads_release
def mentor_kd_completions(path: Path, questions: Iterable[Question], sampler: str) -> list[Completion]:
    """Rationales of a released Mentor-KD file, in the order of the file; `sample_index` counts those of one question.

    Three layouts are read: `aug` (`chain` is the rationale, `completion` the text after the arrow, hence
    `answer_text`), `main` (published after filtering, so the label is the answer) and `prompt` (whole outputs,
    up to 6 a question). How an output ended is not in the files: `finish_reason` is `stop`.

    Raises:
        UserError: The file holds a question that is not among `questions`, or a row of another layout.

    Source: Mentor-KD, released `data/main`, `data/aug` and `data/prompt`; specification section 6.
    """
    by_text = {question.question.strip(): question for question in questions}
    seen: Counter[str] = Counter()
    completions = []
    for row, item in enumerate(read_array(path)):
        text = item.get("input", item.get("instruction"))
        question = by_text.get(str(text).strip())
        if question is None:
            raise UserError("not a question of the data set", file=path, key=f"row {row}", value=text, remedy=FETCH)
        if isinstance(item.get("output"), list):
            outputs = [(output, None) for output in item["output"]]
        elif "chain" in item:
            outputs = [(item["chain"], item.get("completion", item["answer"]))]
        else:
            raise UserError("neither `chain` nor a list of `output`", file=path, key=f"row {row}", remedy=FETCH)
        for output, answer in outputs:
            completions.append(
                replayed_completion(
                    sampler,
                    question.qid,
                    seen[question.qid],
                    prompt=str(text),
                    text=output,
                    answer_text=answer,
                    finish_reason="stop",
                )
            )
            seen[question.qid] += 1
    return completions
