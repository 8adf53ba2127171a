"""`config/experiments/*.yaml`: one table and its figure: tasks, arms, students, seeds, published numbers."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from distillery.config.base import Name, Section, VariantName

MAX_SEED = 2**32 - 1
"""Largest seed that every library takes which draws numbers in training."""


def _each_once(values: Sequence[Hashable]) -> Any:
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise ValueError(f"{repeated[0]!r} is given twice")
    return values


Once = AfterValidator(_each_once)


class Arm(Section):
    """Rows of a table: one recipe, on some models, perhaps swept over settings."""

    recipe: Name
    models: Annotated[list[Name], Once] | None = Field(None, description="Instead of the experiment's students.")
    set: dict[str, Any] = Field(
        {},
        description="Settings that differ from the recipe's, by dotted path (`train.epochs: 3`) or nested. Each is "
        "part of the variant's name, also where the value is the recipe's own.",
    )
    sweep: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        {}, description="Dotted path -> values: one variant for each combination. A value may be a list or a mapping."
    )
    title: str | None = None


class Figure(Section):
    """A figure of the experiment: accuracy of each arm, or accuracy over a swept setting."""

    over: str | None = Field(None, description="Dotted path that a sweep varies; none: one bar per arm.")
    title: str | None = None


class Published(Section):
    """A number that a paper prints for one cell, in percent."""

    task: Name
    recipe: str
    model: Name
    accuracy: float = Field(ge=0, le=100)
    source: str = Field(description="Where it is printed, such as `Table 1`.")


class Experiment(Section):
    """One table and its figure."""

    experiment: Name
    title: str
    paper: str | None = None
    caption: str = ""
    setup: Name
    tasks: Annotated[list[Name], Once] = Field(min_length=1)
    students: Annotated[list[Name], Once] = Field(min_length=1)
    seeds: Annotated[list[Annotated[int, Field(ge=0, le=MAX_SEED)]], Once] = Field(
        [1], min_length=1, description="Trainings of each cell; their accuracies are pooled."
    )
    split: Literal["test", "dev"] = Field(
        "test", description="Questions of the table. Settings are chosen on `dev`, never on `test`."
    )
    arms: list[Arm] = Field(min_length=1)
    majority_answer: bool = Field(
        False, description="Adds a row for the constant answer that is the most frequent among the train questions."
    )
    parts: dict[str, dict[str, Annotated[list[bool | int | float | str], Field(min_length=1)]]] = Field(
        {},
        description="Adds the accuracy on parts of the questions, by a field of their `meta`: field -> name of a "
        "part -> values. Without names (`steps: {}`) each value is a part.",
    )
    grader: Name = Field("robust", description="The accuracy column; every other grader is reported beside it.")
    baseline: VariantName | None = Field(
        None, description="Recipe that every arm is compared with, question by question."
    )
    published: list[Published] = []
    figure: Figure = Figure()
