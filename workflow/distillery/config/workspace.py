"""The checked workspace: every declared thing by name, and the questions that rules ask of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from distillery.config.committee import Committee
from distillery.config.experiment import Experiment, Published
from distillery.config.extensions import Registry
from distillery.config.model import ApiModel, Model, PrunedModel
from distillery.config.prompt import Prompt
from distillery.config.recipe import Recipe
from distillery.config.sampler import Sampler
from distillery.config.settings import Settings
from distillery.config.setup import Setup
from distillery.config.task import Task
from distillery.config.variants import arm_variants
from distillery.errors import UserError


@dataclass(frozen=True)
class TableCell:
    """One cell of an experiment's table: which variant of which arm, on which task, model and seed."""

    task: str
    recipe: str
    model: str
    seed: int
    arm_title: str
    """The arm's title, without the settings of its sweep."""
    swept: dict[str, Any]
    published: Published | None


@dataclass(frozen=True)
class Workspace:
    """All declared things, validated.

    `variants` holds every recipe, swept ones included, as each setup carries it out: setup -> name in paths -> recipe.
    """

    settings: Settings
    tasks: Mapping[str, Task]
    models: Mapping[str, Model]
    prompts: Mapping[str, Prompt]
    samplers: Mapping[str, Sampler]
    committees: Mapping[str, Committee]
    recipes: Mapping[str, Recipe]
    setups: Mapping[str, Setup]
    experiments: Mapping[str, Experiment]
    variants: Mapping[str, Mapping[str, Recipe]]
    files: Mapping[str, Mapping[str, str]]
    registry: Registry

    def find(self, section: str, name: str) -> Any:
        """A declared thing by name; an unknown name is a UserError that lists the known ones."""
        known = getattr(self, section)
        if name not in known:
            raise UserError(
                f"no {section.rstrip('s')} of this name is declared",
                key=section,
                value=name,
                remedy=f"Known: {', '.join(sorted(known)) or 'none'}",
            )
        return known[name]

    def recipe(self, name: str, setup: str) -> Recipe:
        """A recipe or swept variant, as a setup carries it out."""
        known = self.find("variants", setup)
        if name not in known:
            raise UserError("no such recipe", key="recipe", value=name, remedy=f"Known: {', '.join(sorted(known))}")
        return known[name]

    def recipe_names(self) -> list[str]:
        """Every name that may stand for a recipe in a path."""
        return sorted({name for names in self.variants.values() for name in names})

    def prices(self) -> dict[str, list[float]]:
        """Identity of each model with a price -> price of a million prompt tokens, of a million completion tokens."""
        return {
            f"api:{model.id}@{model.endpoint}": [model.price.prompt, model.price.completion]
            for model in self.models.values()
            if isinstance(model, ApiModel) and model.price is not None
        }

    def parent(self, model: str) -> str | None:
        """The model that a pruned one is cut from."""
        entry = self.find("models", model)
        return entry.parent if isinstance(entry, PrunedModel) else None

    def teacher(self, source: str, setup: str) -> str:
        """Sampler behind rows `from: <source>`, of a source whose sampler the setup names (`teacher`, `programs`)."""
        entry = self.find("setups", setup)
        key = self.registry.row_sources[source].sampler
        named = getattr(entry, str(key))
        if named is None:
            raise UserError(
                f"rows from {source} need a sampler and the setup names none",
                file=self.files["setups"][setup],
                key=f"{setup}.{key}",
                remedy="Name a sampler",
            )
        return named

    def mentor_model(self, recipe: str, setup: str, student: str) -> str:
        """Base model of the mentor of `recipe`, when `student` is taught with `setup`."""
        mentor = self.recipe(recipe, setup).mentor
        if mentor is None:
            raise UserError("this recipe has no mentor", key="recipe", value=recipe)
        if mentor.model == "student":
            return student
        if mentor.model != "setup":
            return mentor.model
        named = self.find("setups", setup).mentor
        if named is None:
            raise UserError(
                "the recipe needs a mentor and the setup names none",
                file=self.files["setups"][setup],
                key=f"{setup}.mentor",
                remedy=f"Name the base model of the mentor; recipe {recipe} uses it",
            )
        return named

    def committee_of(self, recipe: str, setup: str) -> Committee:
        """The committee that a recipe with pairs is taught by."""
        name = self.find("setups", setup).committee
        if name is None:
            raise UserError(
                f"recipe {recipe} needs a committee and the setup names none",
                file=self.files["setups"][setup],
                key=f"{setup}.committee",
                remedy="Name one of config/committees",
            )
        return self.find("committees", name)

    def committee_student(self, recipe: str, setup: str, student: str, seed: int) -> str:
        """Who sat the exam that a recipe's pairs are about, as it stands in paths: a base model, or a trained one.

        `released` is the student of a released exchange.
        """
        pairs = self.recipe(recipe, setup).pairs
        committee = self.committee_of(recipe, setup)
        if pairs is None or committee.released is not None:
            return "released"
        if pairs.after is not None:
            return f"{setup}/{pairs.after}/{student}/seed{seed}"
        return committee.student_answers.student or student

    def cells(self, experiment: str) -> Iterator[TableCell]:
        """Every cell of a table, in the order of the experiment file."""
        table = self.find("experiments", experiment)
        for task in table.tasks:
            for arm in table.arms:
                for name, settings in arm_variants(arm):
                    recipe = self.recipe(name, table.setup)
                    seeds = table.seeds if recipe.trained or recipe.weights_of else table.seeds[:1]
                    for model in arm.models or table.students:
                        for seed in seeds:
                            yield TableCell(
                                task=task,
                                recipe=name,
                                model=model,
                                seed=seed,
                                arm_title=arm.title or self.recipes[arm.recipe].title,
                                swept={path: settings[path] for path in arm.sweep},
                                published=_published(table, task, name, model),
                            )


def _published(table: Experiment, task: str, recipe: str, model: str) -> Published | None:
    """What the paper prints for a cell, if it does."""
    for one in table.published:
        if (one.task, one.recipe, one.model) == (task, recipe, model):
            return one
    return None
