"""The table of one experiment: accuracies pooled over seeds, with intervals, costs and published numbers.

A cell is one trained model's run over one task's test questions; a row pools the cells that differ in their seed only.
Printed numbers are rounded here, once (percent and seconds to one decimal). `inside` or `outside` is decided on the
rounded numbers, so that a reader can check it on the page. Rows keep the order of the experiment file: task,
then model, then arm. `distillery.evaluation.table_formats` turns a table into Markdown, CSV, Parquet and HTML.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distillery.config.experiment import Experiment
from distillery.errors import UserError
from distillery.evaluation.intervals import difference_interval, pooled_interval, wilson
from distillery.evaluation.outcomes import NO_ANSWER, NOT_RUN, percent_of
from distillery.evaluation.parts import parts_of, score_parts
from distillery.evaluation.reference_rows import majority_row
from distillery.evaluation.table_records import Cell, Costs, Example, Row, Table, printed, printed_span
from distillery.files import read_json
from distillery.records import GradedPrediction, Outcome, Question, read_records

SHOWN = 3
"""Right answers, and answers that are not right, that the sample viewer shows of each row."""

REMADE = "Delete the file and run the workflow again, which makes it again"


@dataclass(frozen=True, slots=True)
class _Run:
    """A cell with the content of its files."""

    cell: Cell
    scores: dict
    right: dict[str, bool]
    """Qid -> right under the main grader, in the order of qid."""
    examples: tuple[Example, ...]
    costs: Costs


def build_table(experiment: Experiment, cells: Sequence[Cell]) -> Table:
    """Read the files of all cells and pool them.

    Args:
        experiment: Title, main grader and baseline; its order of tasks is the table's.
        cells: In the order of the experiment file; tasks that the experiment does not name come last.

    Raises:
        UserError: Files of a cell contradict each other, lack the main grader, or answer other questions than the
            other cells of the task; two cells are the same, or look the same; the baseline is no recipe of the table.
        ValueError: There is no cell.
    """
    if not cells:
        raise ValueError(f"experiment {experiment.experiment} has no cells")
    order = {task: place for place, task in enumerate(experiment.tasks)}
    ordered = _grouped(sorted(cells, key=lambda cell: order.get(cell.task, len(order))))
    if experiment.baseline is not None and all(cell.recipe != experiment.baseline for cell in cells):
        recipes = ", ".join(dict.fromkeys(cell.recipe for cell in cells))
        raise UserError(
            "no arm of this recipe",
            file=f"experiment {experiment.experiment}",
            key="baseline",
            value=experiment.baseline,
            remedy=f"Name one of {recipes}",
        )
    labels = setting_labels(path for cell in cells for path in cell.swept)
    rows: list[Row] = []
    for groups in ordered.values():
        first = next(iter(groups.values()))[0]
        known = _questions(first)
        parts = parts_of(known[0], experiment.parts) if experiment.parts else {}
        runs = {key: [_read(cell, experiment.grader) for cell in group] for key, group in groups.items()}
        _check_same_questions([run for group in runs.values() for run in group])
        if experiment.majority_answer:
            rows.append(majority_row(first, known[1], known[0], parts))
        for (model, recipe), group in runs.items():
            compared = experiment.baseline is not None and recipe != experiment.baseline
            baseline = runs.get((model, str(experiment.baseline))) if compared else None
            rows.append(_row(group, baseline, experiment.grader, labels, parts))
    _check_titles(rows)
    return Table(
        experiment=experiment.experiment,
        title=experiment.title,
        paper=experiment.paper,
        caption=experiment.caption,
        grader=experiment.grader,
        split=experiment.split,
        other_graders=tuple(sorted({grader for row in rows for grader in row.others})),
        baseline_title=next((row.arm for row in rows if row.recipe == experiment.baseline), None),
        rows=tuple(rows),
        labels=labels,
        notes=tuple(dict.fromkeys(cell.note for cell in cells if cell.note)),
    )


def setting_labels(paths: Iterable[str]) -> dict[str, str]:
    """Path of each setting -> its shortest suffix that no other of the paths has; the whole path where there is none.

    >>> setting_labels(["objective.alpha", "train.lora.alpha", "train.epochs"])
    {'objective.alpha': 'objective.alpha', 'train.lora.alpha': 'lora.alpha', 'train.epochs': 'epochs'}
    """
    known = list(dict.fromkeys(paths))
    suffixes = {path: [path.split(".", depth)[-1] for depth in range(path.count("."), -1, -1)] for path in known}
    shared = Counter(suffix for found in suffixes.values() for suffix in found)
    return {path: next((suffix for suffix in suffixes[path] if shared[suffix] == 1), path) for path in known}


def titled(title: str, settings: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """A title with settings behind it: `Mentor-KD (lambda=0.5)`."""
    shown = ", ".join(f"{labels[path]}={value}" for path, value in settings.items())
    return f"{title} ({shown})" if shown else title


def _grouped(cells: Sequence[Cell]) -> dict[str, dict[tuple[str, str], list[Cell]]]:
    """Cells by task, then by model and recipe, then by seed; names in order of first appearance."""
    tasks: dict[str, dict[tuple[str, str], list[Cell]]] = {}
    for cell in cells:
        group = tasks.setdefault(cell.task, {}).setdefault((cell.model, cell.recipe), [])
        if any(cell.seed == other.seed for other in group):
            name = f"{cell.task}, {cell.recipe}, {cell.model}, seed {cell.seed}"
            raise UserError("two arms of the experiment are the same", key=name, remedy="Remove one of them")
        group.append(cell)
    for task, groups in tasks.items():
        models = list(dict.fromkeys(model for model, _ in groups))
        by_model = sorted(groups.items(), key=lambda item: models.index(item[0][0]))
        tasks[task] = {key: sorted(group, key=lambda cell: cell.seed) for key, group in by_model}
    return tasks


def _read(cell: Cell, grader: str) -> _Run:
    scores = read_json(cell.scores)
    if grader not in scores["graders"]:
        raise UserError(
            f"not scored by the grader {grader}",
            file=cell.scores,
            remedy=f"Choose a grader among {', '.join(sorted(scores['graders']))}, or add it to the task {cell.task}",
        )
    predictions = sorted(read_records(cell.predictions, GradedPrediction), key=GradedPrediction.sort_key)
    right = {prediction.qid: prediction.outcomes[grader] == Outcome.RIGHT for prediction in predictions}
    counts = scores["graders"][grader]
    if (len(right), sum(right.values())) != (counts["asked"], counts["right"]):
        raise UserError(
            f"{counts['right']} of {counts['asked']} right, but {sum(right.values())} of {len(right)} in"
            f" {cell.predictions}",
            file=cell.scores,
            remedy=REMADE,
        )
    return _Run(cell, scores, right, _examples(predictions, grader), _costs(cell))


def _questions(cell: Cell) -> tuple[list[Question], list[Question]]:
    """The questions of the cell and those of the train split, as far as the table needs them."""
    found = [list(read_records(file, Question)) if file else [] for file in (cell.questions, cell.train_questions)]
    return found[0], found[1]


def _costs(cell: Cell) -> Costs:
    found: dict[str, Any] = {}
    for path in cell.costs:
        facts = read_json(path)
        found |= {key: facts[key] for key in Costs.model_fields if facts.get(key) is not None}
    return Costs.model_validate(found)


def _check_same_questions(runs: list[_Run]) -> None:
    """Arms of a task are compared question by question, so each must have answered all of them."""
    for run in runs[1:]:
        apart = run.right.keys() ^ runs[0].right.keys()
        if apart:
            raise UserError(
                f"other test questions than in {runs[0].cell.predictions}",
                file=run.cell.predictions,
                key=f"qid {min(apart)}",
                remedy=REMADE,
            )


def _check_titles(rows: list[Row]) -> None:
    """Readers know rows by their titles, and a figure would put two rows with the same title over each other."""
    seen: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        other = seen.setdefault((row.task_title, row.model, row.arm), row)
        if other is not row:
            what, names = (
                ("task", (other.task, row.task)) if other.task != row.task else ("arm", (other.recipe, row.recipe))
            )
            raise UserError(
                f"two {what}s have the same title: {names[0]} and {names[1]}",
                value=f"{row.task_title}, {row.arm}",
                key="title",
                remedy="Give each its own title",
            )


def _row(
    runs: list[_Run],
    baseline: list[_Run] | None,
    grader: str,
    labels: Mapping[str, str],
    parts: Mapping[str, Sequence[str]],
) -> Row:
    cell, answers = runs[0].cell, _answers(runs)
    asked = len(answers[0])
    accuracy = _accuracy(answers)
    single = len(runs) == 1
    interval = wilson(sum(answers[0]), asked) if single else pooled_interval(answers)
    published = {(run.cell.published, run.cell.published_source) for run in runs}
    if len(published) > 1:
        raise UserError(f"seeds of {cell.recipe} on {cell.task} name different published numbers: {published}")
    graders = sorted(set.intersection(*(set(run.scores["graders"]) for run in runs)) - {grader})
    difference = None if baseline is None else printed(accuracy - _accuracy(_answers(baseline)))
    return Row(
        task=cell.task,
        task_title=cell.task_title,
        recipe=cell.recipe,
        arm_title=cell.arm_title,
        arm=titled(cell.arm_title, cell.swept, labels),
        swept=cell.swept,
        model=cell.model,
        seeds=tuple(run.cell.seed for run in runs),
        questions=asked,
        accuracy=printed(accuracy),
        interval=printed_span(interval),
        others={name: _mean([run.scores["graders"][name]["accuracy"] for run in runs]) for name in graders},
        unparsable=_mean([percent_of(run.scores["graders"][grader], NO_ANSWER) for run in runs]),
        truncated=_mean([run.scores["truncated_percent"] for run in runs]),
        raised=_mean_if_known([_raised(run, grader) for run in runs]),
        rounds=_rounds([run.scores.get("rounds", {}).get(grader, []) for run in runs]),
        training_rows=_mean_if_known([run.costs.training_rows for run in runs]),
        samples_used=_mean_if_known([run.costs.samples_used for run in runs]),
        updates=_mean_if_known([run.costs.steps for run in runs]),
        train_seconds=_mean_if_known([run.costs.train_seconds for run in runs]),
        device=" + ".join(sorted({run.costs.device for run in runs if run.costs.device})) or None,
        published=cell.published,
        published_source=cell.published_source,
        difference=difference,
        difference_interval=(
            None if baseline is None else printed_span(difference_interval(answers, _answers(baseline)))
        ),
        predictions=tuple(run.cell.predictions for run in runs),
        examples=runs[0].examples,
        parts=score_parts([run.right for run in runs], parts),
    )


def _raised(run: _Run, grader: str) -> float | None:
    return percent_of(run.scores["graders"][grader], NOT_RUN) if run.scores.get("programs") else None


def _rounds(runs: list[list[float]]) -> tuple[float, ...]:
    """Means over seeds, after each round; a run with fewer rounds keeps its last accuracy. Empty unless all have it."""
    if not all(runs):
        return ()
    longest = max(map(len, runs))
    return tuple(_mean([run[min(number, len(run) - 1)] for run in runs]) for number in range(longest))


def _examples(predictions: list[GradedPrediction], grader: str) -> tuple[Example, ...]:
    """The first right and the first other answers, in the order of the question ids."""
    chosen: dict[bool, list[Example]] = {True: [], False: []}
    for prediction in predictions:
        outcome = prediction.outcomes[grader]
        kind = chosen[outcome == Outcome.RIGHT]
        if len(kind) < SHOWN:
            kind.append(Example(prediction, outcome, prediction.answers[grader]))
    return tuple(chosen[True] + chosen[False])


def _answers(runs: list[_Run]) -> list[list[bool]]:
    """(seeds, questions); all runs of a task share the order of their questions, which is that of qid."""
    return [list(run.right.values()) for run in runs]


def _accuracy(answers: list[list[bool]]) -> float:
    return 100 * sum(map(sum, answers)) / (len(answers) * len(answers[0]))


def _mean(values: Sequence[float]) -> float:
    """Mean over seeds as printed."""
    return printed(sum(values) / len(values))


def _mean_if_known(values: Sequence[float | None]) -> float | None:
    """None unless every seed has the number: a mean over some of them would not be the row's."""
    known = [value for value in values if value is not None]
    return _mean(known) if len(known) == len(values) else None
