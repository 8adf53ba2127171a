"""Rows of a task: generated, from the Hugging Face Hub, or from local files, all in one shape.

A row is a dictionary of fields, with a name that never changes and a place to show in error messages. Loading needs
pyarrow, datasets or reasoning_gym only for the sources that use them: they are imported on demand.
"""

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, cast

from distillery.config.task import FileSource, GeneratorSource, HubSource, ReasoningGymSource, Task
from distillery.errors import UserError, UserErrors
from distillery.foreign import parse_json, read_text
from distillery.records import Split
from distillery.tasks.generators import Drawn, OptionError, Pool, UsedUp, check_options, draw_questions
from distillery.tasks.local_files import read_rows


@dataclass(frozen=True)
class Row:
    """One row of a source."""

    name: str
    """Names the row within its split: its number, or its `id_field`."""
    fields: dict[str, Any]
    place: str
    """File and row, for messages: `data/train.jsonl: row 17`."""
    meta: dict[str, Any] = field(default_factory=dict)


Rows = dict[Split, list[Row]]


def task_file(task: Task) -> str:
    """The file that declares a task, as messages name it."""
    return f"config/tasks/{task.task}.yaml"


def is_generated(task: Task) -> bool:
    """Whether questions are made on demand, so that any number can be had and splits never overlap."""
    return isinstance(task.source, GeneratorSource | ReasoningGymSource)


def load_rows(
    task: Task, root: Path = Path("."), downloads: Path = Path("downloads")
) -> tuple[Rows, dict[str, Any] | None]:
    """All rows of each split that the source has (of generators, as many as `sizes` asks for).

    Args:
        root: Folder that the paths of a file source are relative to.
        downloads: Where fetched files are kept.

    Returns:
        The rows, and of a source on the Hub the repository, commit and files that they were read from.

    Raises:
        UserError: The source cannot be read, or cannot give what the task file asks for.
    """
    source = task.source
    if isinstance(source, GeneratorSource):
        return _generated(task, source), None
    if isinstance(source, ReasoningGymSource):
        return _reasoning_gym(task, source), None
    if isinstance(source, HubSource):
        return _hub(task, source, downloads)
    return _files(source, root), None


def generated_exemplars(task: Task) -> list[Drawn]:
    """The exemplars that the task's generator makes, from a pool that no split uses.

    Raises:
        UserError: The source cannot make exemplars, or the generator has too few.
    """
    count = task.exemplars.count
    if not count:
        return []
    source = task.source
    if not isinstance(source, GeneratorSource):
        raise UserError(
            "only the project's own generators make exemplars",
            file=task_file(task),
            key="exemplars.count",
            value=count,
            remedy="Write the exemplars out under exemplars.written",
        )
    return _draw(task, source, "exemplar", count, f"{source.seed}:{task.exemplars.seed}", "exemplars.count")


def _draw(task: Task, source: GeneratorSource, pool: Pool, count: int, seed: str, key: str) -> list[Drawn]:
    try:
        check_options(source.generator, source.options)
        return draw_questions(source.generator, seed, pool, count, source.options)
    except OptionError as error:
        raise UserError(
            error.problem,
            file=task_file(task),
            key=f"source.options.{error.key}",
            value=error.value,
            remedy=error.remedy,
        ) from error
    except UsedUp as error:
        raise UserError(
            f"with these options the generator has only {error.count} different questions of this kind",
            file=task_file(task),
            key=key,
            value=count,
            remedy="Ask for fewer, or widen source.options",
        ) from error


def _sizes(task: Task) -> dict[Split, int]:
    missing = [
        UserError(
            "a generator has no end, so the task must say how many questions it wants",
            file=task_file(task),
            key=f"sizes.{split}",
            remedy=f"Add sizes: {{{split}: 200}}",
        )
        for split in ("train", "test")
        if getattr(task.sizes, split) is None
    ]
    if missing:
        raise UserErrors(missing)
    return {"train": task.sizes.train or 0, "dev": task.sizes.dev or 0, "test": task.sizes.test or 0}


def _generated(task: Task, source: GeneratorSource) -> Rows:
    rows: Rows = {}
    for split, count in _sizes(task).items():
        generated = _draw(task, source, split, count, str(source.seed), f"sizes.{split}")
        rows[split] = [
            Row(
                name=f"{index:05d}",
                fields={**item.meta, "question": item.question, "gold": item.gold, "rationale": item.rationale},
                place=f"{source.generator}: question {index} of {split}",
                meta=item.meta,
            )
            for index, item in enumerate(generated)
        ]
    return rows


_GYM_STREAMS: dict[Split, int] = {"test": 0, "dev": 1, "train": 2}
_GYM_STRIDE = 10_000_000
"""reasoning-gym seeds question i with seed + i: streams this far apart do not overlap."""


def _reasoning_gym(task: Task, source: ReasoningGymSource) -> Rows:
    try:
        import reasoning_gym
    except ImportError as error:
        raise UserError(
            "the package reasoning-gym is not installed",
            file=task_file(task),
            key="source.kind",
            value="reasoning-gym",
            remedy="Install it with `pip install reasoning-gym`, or use another source",
        ) from error
    rows: Rows = {}
    seen: set[str] = set()  # small generators repeat themselves: a question is in one split, once
    sizes = _sizes(task)
    for split, stream in _GYM_STREAMS.items():
        count = sizes[split]
        try:
            made = reasoning_gym.create_dataset(
                source.dataset, size=4 * count + 100, seed=source.seed + stream * _GYM_STRIDE, **source.options
            )
        except (ValueError, TypeError, AssertionError) as error:
            raise UserError(
                f"reasoning-gym refuses it: {error}",
                file=task_file(task),
                key="source",
                value=source.dataset,
                remedy="See the names and options in reasoning-gym's gallery",
            ) from error
        rows[split] = []
        for entry in islice(iter(made), 4 * count + 100):
            if len(rows[split]) == count:
                break
            if entry["question"] in seen:
                continue
            seen.add(entry["question"])
            index = len(rows[split])
            fields = {**entry, "gold": entry["answer"]}
            rows[split].append(Row(f"{index:05d}", fields, f"{source.dataset}: question {index} of {split}"))
    return rows


def _hub(task: Task, source: HubSource, downloads: Path) -> tuple[Rows, dict[str, Any]]:
    from distillery.tasks.hub_rows import read_hub

    tables, read = read_hub(source, downloads, task_file(task))
    rows: Rows = {}
    for split, name in source.splits.items():
        rows[split] = [
            Row(f"{index:05d}", fields, f"{source.path}, {name}: row {index}", {"row": index})
            for index, fields in enumerate(tables[split])
        ]
    return rows, read


def _files(source: FileSource, root: Path) -> Rows:
    tables: dict[str, list[Row]] = {}
    faults: list[UserError] = []
    for split, name in source.files.items():
        try:
            tables[split] = [
                Row(_row_name(source, index, fields, name), fields, f"{name}: row {index}", {"row": index})
                for index, fields in enumerate(read_rows(root / name, name))
            ]
        except UserError as error:
            faults.append(error)
    if faults:
        raise UserErrors(faults)
    if source.split_file is None:
        return cast(Rows, tables)
    return _split_by_file(source, tables["all"], root)


def _split_by_file(source: FileSource, table: list[Row], root: Path) -> Rows:
    name = str(source.split_file)
    split_rows = parse_json(read_text(root / name, name), name)
    well_formed = isinstance(split_rows, dict) and {type(numbers) for numbers in split_rows.values()} == {list}
    if not well_formed or not set(split_rows) <= {"train", "dev", "test"}:
        raise UserError("not a JSON object {train: [row, ...], test: [row, ...]}", file=name, remedy="Correct the file")
    faults: list[UserError] = []
    where: dict[int, str] = {}
    for split, numbers in split_rows.items():
        for number in numbers:
            if type(number) is not int or not 0 <= number < len(table):
                problem = f"no such row; {source.files['all']} has rows 0 to {len(table) - 1}"
            elif number in where:
                problem = f"the row is in {where[number]} already"
            else:
                where[number] = split
                continue
            faults.append(UserError(problem, file=name, key=split, value=number, remedy="Correct the split file"))
    if faults:
        raise UserErrors(faults[:10])
    return {cast(Split, split): [table[number] for number in numbers] for split, numbers in split_rows.items()}


def _row_name(source: FileSource, index: int, fields: dict[str, Any], name: str) -> str:
    if source.id_field is None:
        return f"{index:05d}"
    found = fields.get(source.id_field)
    if found in (None, ""):
        raise UserError(
            f"no field {source.id_field!r}, which the task names as id_field",
            file=name,
            key=f"row {index}",
            remedy=f"The row has {', '.join(map(str, fields))}",
        )
    if not isinstance(found, str | int):
        raise UserError(
            "an id is a text or a whole number",
            file=name,
            key=f"row {index}, {source.id_field}",
            value=found,
            remedy="Name another field as id_field, or leave it out to number the rows",
        )
    return str(found)
