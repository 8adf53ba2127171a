"""`config/experiments/*.yaml`: a table. `config/setups.yaml`: who teaches, how long. `config/config.yaml`: the run."""

from typing import Any, Literal

from pydantic import Field

from distillery.config.base import Name, Section, VariantName


class Setup(Section):
    """The circumstances in which recipes are carried out: who teaches, and with what budget.

    Recipes name parts (teacher, mentor), setups name models. Settings are laid over each other in this order: recipe
    file, the setup's `train`, the setup's `recipes`, the arm's own.
    """

    teacher: Name | None = Field(None, description="Sampler whose completions are the teacher's rationales.")
    program_teacher: Name | None = Field(None, description="Sampler whose completions are programs (PaD).")
    mentor: Name | None = Field(None, description="Base model of the mentor.")
    committee: Name | None = Field(None, description="Who gives feedback and rationales on the student's mistakes.")
    train: dict[str, Any] = Field({}, description="Laid over the `train` section of every trained recipe.")
    recipes: dict[Name, dict[str, Any]] = Field({}, description="Recipe -> sections laid over that recipe.")


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


class Budget(Section):
    """What one run may spend on sampling. A spent budget stops the run; what was drawn is kept."""

    samples: int | None = Field(None, ge=0, description="Completions drawn; those in the store cost nothing.")
    tokens: int | None = Field(None, ge=0, description="Tokens generated.")
    money: float | None = Field(None, ge=0, description="In the unit of the prices in models.yaml.")


class Settings(Section):
    """`config/config.yaml`."""

    experiments: list[Name] = Field(min_length=1, description="Tables that `rule all` makes.")
    overrides: dict[str, Any] = Field(
        {}, description="Declared settings changed for this run: `tasks.arithmetic.sizes.train: 40`."
    )
    budget: Budget = Budget()
    sandbox: Literal["auto", "bwrap", "seccomp", "unsafe"] = Field(
        "auto", description="Isolation of programs that models write; `unsafe` has none. docs/sandbox.md."
    )
