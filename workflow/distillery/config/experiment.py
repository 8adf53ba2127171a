"""`config/experiments/*.yaml`: one table and its figure: tasks, arms, students, seeds, published numbers."""

from typing import Any

from pydantic import Field

from distillery.config.base import Name, Section, VariantName


class Arm(Section):
    """Rows of a table: one recipe, on some models, perhaps swept over settings."""

    recipe: Name
    models: list[Name] | None = Field(None, description="Instead of the experiment's students.")
    set: dict[str, Any] = Field(
        {}, description="Settings that differ from the recipe's, by dotted path (`train.epochs: 3`)."
    )
    sweep: dict[str, list[Any]] = Field({}, description="Dotted path -> values: one variant for each combination.")
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
    tasks: list[Name] = Field(min_length=1)
    students: list[Name] = Field(min_length=1)
    seeds: list[int] = Field([1], min_length=1)
    arms: list[Arm] = Field(min_length=1)
    grader: Name = Field("robust", description="The accuracy column; every other grader is reported beside it.")
    baseline: VariantName | None = Field(
        None, description="Recipe that every arm is compared with, question by question."
    )
    published: list[Published] = []
    figure: Figure = Figure()
