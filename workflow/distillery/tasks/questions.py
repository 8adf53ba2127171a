"""Questions of a task, checked before any model sees them.

`build_task` renders the task file's templates over the source's rows, holds a dev split out of train where the source
has none, and refuses what would spoil a result later: an exemplar whose question is in the test split, two questions
with one id. Whether gold answers pass their own graders is checked elsewhere
(`distillery.verification.gold_check`). `summarise` counts what is left to a reader's judgement, such as overlaps within
published splits.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from distillery.config.task import Task
from distillery.errors import UserError, UserErrors
from distillery.records import Question, Split
from distillery.rendering import Template, TemplateFault, Templates
from distillery.tasks.sources import Row, Rows, generated_exemplars, is_generated, load_rows, task_file

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
_SHOWN = 10
"""Faults of one kind shown at once; the rest is counted."""


@dataclass(frozen=True)
class Exemplar:
    """A worked example for few-shot prompts."""

    question: str
    rationale: str
    gold: str
    program: str | None = None


@dataclass(frozen=True)
class TaskData:
    """All questions of a task, per split in the order of the source, and its exemplars."""

    train: list[Question]
    dev: list[Question]
    test: list[Question]
    exemplars: list[Exemplar]
    read: dict[str, Any] | None = None
    """Of a source on the Hub: repository, commit, and the SHA-256 of each file that was read."""


def build_task(task: Task, root: Path = Path("."), downloads: Path = Path("downloads")) -> TaskData:
    """Questions and exemplars of a task.

    Args:
        task: The task file.
        root: Folder that the paths of a file source are relative to.
        downloads: Where files of the Hub are kept.

    Raises:
        UserError: Faults of the task file or of its data, several at once, each with its place and a remedy.
    """
    templates = _compile(task)
    rows, read = load_rows(task, root, downloads)
    faults: list[UserError] = []
    questions = {split: _render(task, templates, split, rows.get(split, []), faults) for split in SPLITS}
    raise_all(faults)  # what follows needs all rows: sizes and overlaps of half a data set would mislead
    splits = _cut(task, rows, questions)
    made = generated_exemplars(task)
    exemplars = [Exemplar(item.question, item.rationale, item.gold, item.program) for item in made]
    written = task.exemplars.written
    exemplars += [Exemplar(item.question, item.rationale, item.gold, item.program) for item in written]
    _check_ids(task, splits, faults)
    _check_overlaps(task, splits, exemplars, faults)
    raise_all(faults)
    return TaskData(train=splits["train"], dev=splits["dev"], test=splits["test"], exemplars=exemplars, read=read)


def summarise(task: Task, data: TaskData) -> dict[str, Any]:
    """What `summary.json` holds: questions per split, kinds, overlaps and repeats, and what was read from the Hub."""
    splits = {split: cast(list[Question], getattr(data, split)) for split in SPLITS}
    texts = {split: {_same(question.question) for question in questions} for split, questions in splits.items()}
    return {
        "task": task.task,
        "version": task.version,
        "counts": {split: len(questions) for split, questions in splits.items()},
        "exemplars": len(data.exemplars),
        "templates": {split: _count(questions, "template") for split, questions in splits.items()},
        "steps": {split: _count(questions, "steps") for split, questions in splits.items()},
        "duplicate_questions": {split: len(questions) - len(texts[split]) for split, questions in splits.items()},
        "test_questions_in_train": sum(_same(question.question) in texts["train"] for question in data.test),
        "test_questions_in_dev": sum(_same(question.question) in texts["dev"] for question in data.test),
        **({"read": data.read} if data.read else {}),
    }


def _count(questions: Iterable[Question], key: str) -> dict[str, int]:
    return dict(sorted(Counter(str(question.meta[key]) for question in questions if key in question.meta).items()))


def _same(text: str) -> str:
    return " ".join(text.split())


def raise_all(faults: list[UserError]) -> None:
    """Raise the faults found, the first ten of them shown; nothing if there are none."""
    if not faults:
        return
    shown = faults[:_SHOWN]
    if len(faults) > _SHOWN:
        shown.append(UserError(f"... and {len(faults) - _SHOWN} more faults"))
    raise shown[0] if len(shown) == 1 else UserErrors(shown)


def _compile(task: Task) -> dict[str, Template]:
    language = Templates()
    templates: dict[str, Template] = {}
    faults: list[UserError] = []
    for key in ("question", "gold", "rationale"):
        text = getattr(task, key)
        if text is None:
            continue
        try:
            templates[key] = language.template(text)
        except TemplateFault as error:
            problem = f"not a Jinja template: {error}"
            faults.append(UserError(problem, file=task_file(task), key=key, value=text, remedy="Correct it"))
    raise_all(faults)
    return templates


def _render(
    task: Task, templates: dict[str, Template], split: Split, rows: list[Row], faults: list[UserError]
) -> list[Question]:
    questions = []
    for row in rows:
        texts: dict[str, str] = {}
        for key, template in templates.items():
            try:
                texts[key] = template.render(row.fields).strip()
            except Exception as error:  # a template may raise anything on a row's values: a fault of the user's files
                faults.append(
                    UserError(
                        f"the template fails at {row.place}: {error}",
                        file=task_file(task),
                        key=key,
                        value=getattr(task, key),
                        remedy=f"The row has the fields {', '.join(map(str, row.fields))}",
                    )
                )
                if isinstance(error, TemplateFault):  # it took its time, and would take it at each row
                    raise_all(faults)
                continue
            if texts[key] in ("", "None"):  # None is what a null of the source becomes
                remedy = "Add it to the row, remove the row, or correct the template"
                faults.append(UserError(f"the {key} is empty", file=row.place, key=key, remedy=remedy))
        if "question" in texts and "gold" in texts:
            rationale = texts.get("rationale")
            if rationale is None and is_generated(task):
                rationale = row.fields.get("rationale")
            questions.append(
                Question(
                    qid=f"{task.task}-{split}-{row.name}",
                    task=task.task,
                    question=texts["question"],
                    gold=texts["gold"],
                    rationale=rationale,
                    meta=row.meta,
                )
            )
    return questions


def _cut(task: Task, rows: Rows, questions: dict[Split, list[Question]]) -> dict[Split, list[Question]]:
    """The splits at their sizes; dev is taken out of train where the source has none."""
    faults: list[UserError] = []
    train, dev, test = questions["train"], questions["dev"], questions["test"]
    wanted = task.sizes.dev or 0
    if "dev" not in rows and wanted:
        if wanted >= len(train):
            faults.append(_too_few(task, "dev", wanted, f"train, of which it is a part, has only {len(train)}"))
        held_out = {question.qid for question in sorted(train, key=_by_hash)[:wanted]}
        dev = [question for question in train if question.qid in held_out]
        train = [question for question in train if question.qid not in held_out]
    cut: dict[Split, list[Question]] = {}
    for split, have in zip(SPLITS, (train, dev, test), strict=True):
        size = getattr(task.sizes, split)
        if size is not None and size > len(have) and not (split == "dev" and faults):
            faults.append(_too_few(task, split, size, f"the source has only {len(have)}"))
        cut[split] = have[:size]
    faults += [
        UserError(
            f"the source has no {split} questions", file=task_file(task), key="source", remedy=f"Add a {split} split"
        )
        for split in ("train", "test")
        if not questions[split] and getattr(task.sizes, split) is None
    ]
    raise_all(faults)
    return cut


def _too_few(task: Task, split: str, size: int, why: str) -> UserError:
    return UserError(why, file=task_file(task), key=f"sizes.{split}", value=size, remedy="Ask for fewer")


def _by_hash(question: Question) -> str:
    """Order for holding out: a question's place in it does not depend on how many others there are."""
    return hashlib.sha256(question.qid.encode()).hexdigest()


def _all(splits: dict[Split, list[Question]]) -> Iterator[Question]:
    for questions in splits.values():
        yield from questions


def _check_ids(task: Task, splits: dict[Split, list[Question]], faults: list[UserError]) -> None:
    for qid, count in Counter(question.qid for question in _all(splits)).items():
        if count > 1:
            faults.append(
                UserError(
                    f"{count} questions have the id {qid}",
                    file=task_file(task),
                    key="source.id_field",
                    value=getattr(task.source, "id_field", None),
                    remedy="Name a field that differs in every row, or leave id_field out to number the rows",
                )
            )


def _check_overlaps(
    task: Task, splits: dict[Split, list[Question]], exemplars: list[Exemplar], faults: list[UserError]
) -> None:
    test = {_same(question.question): question.qid for question in splits["test"]}
    for number, exemplar in enumerate(exemplars):
        if _same(exemplar.question) in test:
            faults.append(
                UserError(
                    f"the exemplar's question is in the test split, as {test[_same(exemplar.question)]}",
                    file=task_file(task),
                    key=f"exemplars.written.{number}.question" if task.exemplars.written else "exemplars.seed",
                    value=exemplar.question,
                    remedy="Use a question of the train split",
                )
            )
    if is_generated(task):
        for question in splits["train"] + splits["dev"]:
            if _same(question.question) in test:
                faults.append(
                    UserError(
                        f"{question.qid} asks the same as {test[_same(question.question)]}",
                        file=task_file(task),
                        key="question",
                        value=question.question,
                        remedy="Show in the question template what makes the rows differ",
                    )
                )
