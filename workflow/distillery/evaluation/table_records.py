"""What a table is made of: the cells with their files, the rows that pool them, and the table around them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from distillery.records import GradedPrediction, Outcome, Split


class Cell(BaseModel):
    """One run of one arm on one task, and the files that hold its numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    task_title: str
    recipe: str
    """Name of the recipe's variant, as in paths (`mentor-kd.lambda=0.5`)."""
    arm_title: str
    """Title of the arm without the settings that a sweep varies: rows add those, curves share the title."""
    model: str
    seed: int
    scores: Path
    """Summary of `distillery.evaluation.score.score`."""
    predictions: Path
    """GradedPrediction records."""
    swept: dict[str, Any] = {}
    """Dotted path -> value of what the arm's sweep sets in this variant."""
    published: float | None = None
    """Accuracy in percent that the paper prints for this cell."""
    published_source: str | None = None
    note: str | None = None
    """What a reader must know about how this cell was made."""
    costs: tuple[Path, ...] = ()
    """JSON objects of earlier stages; the keys of `Costs` are read, all others ignored."""
    questions: Path | None = None
    """Question records that were answered, for a table with parts or with the majority answer."""
    train_questions: Path | None = None
    """Question records of the train split, for a table with the majority answer."""


class Costs(BaseModel):
    """What a cell cost; None where no summary says so."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    training_rows: int | None = None
    samples_used: int | None = None
    """Completions that training rows were chosen from."""
    steps: int | None = None
    """Updates of the training."""
    train_seconds: float | None = None
    device: str | None = None
    """What the training ran on: `cpu`, `gpu`."""


@dataclass(frozen=True, slots=True)
class Example:
    """One test question as the sample viewer shows it."""

    prediction: GradedPrediction
    outcome: Outcome
    answer: str | None


@dataclass(frozen=True, slots=True)
class PartScore:
    """Accuracy on a part of the questions, in percent, pooled over seeds."""

    questions: int
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Accuracies, shares and intervals in percent; None is an empty field."""

    task: str
    task_title: str
    recipe: str
    arm_title: str
    arm: str
    """Title of the arm with its swept settings."""
    swept: dict[str, Any]
    model: str
    """Empty in a row that no model made: the majority answer."""
    seeds: tuple[int, ...]
    questions: int
    accuracy: float
    interval: tuple[float, float]
    others: dict[str, float]
    """Accuracy under each grader that is not the experiment's."""
    unparsable: float
    """Questions without a final answer that the main grader could find."""
    truncated: float
    """Completions that hit the token limit, with any verdict."""
    raised: float | None
    """Programs that did not run to a value; None where completions are texts."""
    rounds: tuple[float, ...]
    """Accuracy after 0, 1, ... rounds of self-refinement; empty without."""
    training_rows: float | None
    samples_used: float | None
    updates: float | None
    train_seconds: float | None
    device: str | None
    published: float | None
    published_source: str | None
    difference: float | None
    """Accuracy minus the baseline's, in points; None without a baseline, and in the baseline's own row."""
    difference_interval: tuple[float, float] | None
    predictions: tuple[Path, ...]
    examples: tuple[Example, ...]
    parts: dict[str, PartScore]
    """Title of a part of the questions -> accuracy there."""

    @property
    def verdict(self) -> str:
        """Whether the published number lies within our interval; empty if there is none."""
        if self.published is None:
            return ""
        return "inside" if self.interval[0] <= self.published <= self.interval[1] else "outside"


@dataclass(frozen=True, slots=True)
class Table:
    """An experiment's rows, with what a page around them says."""

    experiment: str
    title: str
    paper: str | None
    caption: str
    grader: str
    split: Split
    """The questions of the table: `test`, or `dev` where settings are chosen."""
    other_graders: tuple[str, ...]
    baseline_title: str | None
    rows: tuple[Row, ...]
    labels: dict[str, str]
    """Dotted path of each swept setting -> its label in titles and axes."""
    notes: tuple[str, ...] = ()
    """Notes of the cells, each once."""


def printed(value: float) -> float:
    """A number of points or percent as tables print it: one decimal."""
    # Adding zero turns -0.0, which prints as "-0.0", into 0.0.
    return round(value, 1) + 0.0


def printed_span(interval: tuple[float, float]) -> tuple[float, float]:
    """The ends of an interval as tables print them."""
    return printed(interval[0]), printed(interval[1])
