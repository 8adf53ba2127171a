"""The checked workspace: every declared thing by name, and the questions that rules ask of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from distillery.config.committee import Committee
from distillery.config.experiment import Experiment, Published
from distillery.config.extensions import Registry
from distillery.config.model import ApiModel, Model, PrunedModel
from distillery.config.needs import missing_here
from distillery.config.prompt import Prompt
from distillery.config.recipe import Recipe
from distillery.config.sampler import Sampler
from distillery.config.setting_names import SettingNames
from distillery.config.settings import Settings
from distillery.config.setup import Setup
from distillery.config.source import Source
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
    arm: int
    """Place of the arm in the experiment file, from 0."""


DEFAULT_GRADERS = ("paper", "robust")
"""Graders that every task has (verification.graders)."""


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
    names: SettingNames
    registry: Registry
    sources: Mapping[str, Mapping[str, Source]]
    """Section -> name -> raw content with the line of every key. Recipes are extended already."""
    variant_sources: Mapping[str, Mapping[str, Source]]
    """The same for `variants`."""

    def where(self, section: str, name: str, *path: str, value: Any = None) -> dict[str, Any]:
        """File, line and key of a declared setting, as arguments of a UserError; with `value`, of that list item."""
        return self.sources[section][name].where(*path, value=value)

    def where_variant(self, setup: str, name: str, *path: str) -> dict[str, Any]:
        """File, line and key where a setting of a variant was last set."""
        return self.variant_sources[setup][name].where(*path)

    def label_of(self, path: str) -> str:
        """What names of variants call a setting: the shortest end of its path that means it alone."""
        return self.names.label_of(path)

    def graders_of(self, task: str) -> list[str]:
        """Names of the graders of a task."""
        return sorted({*DEFAULT_GRADERS, *self.tasks[task].graders})

    def not_runnable(self) -> dict[str, list[UserError]]:
        """Experiment -> what it needs and this machine lacks: local files, keys of endpoints, optional packages."""
        found = {name: missing_here(self, name) for name in self.experiments}
        return {name: faults for name, faults in found.items() if faults}

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
        """Sampler behind rows `from: <source>`, of a source whose sampler the setup names."""
        entry = self.find("setups", setup)
        key = str(self.registry.row_sources[source].sampler)
        named = getattr(entry, key)
        if named is None:
            raise UserError(
                f"rows from {source} need a sampler and the setup names none",
                remedy="Name a sampler",
                **self.where("setups", setup, key),
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
                remedy=f"Name the base model of the mentor; recipe {recipe} uses it",
                **self.where("setups", setup, "mentor"),
            )
        return named

    def committee_of(self, recipe: str, setup: str) -> Committee:
        """The committee that a recipe with pairs is taught by."""
        name = self.find("setups", setup).committee
        if name is None:
            raise UserError(
                f"recipe {recipe} needs a committee and the setup names none",
                remedy="Name one of config/committees",
                **self.where("setups", setup, "committee"),
            )
        return self.find("committees", name)

    def committee_student(self, recipe: str, setup: str, student: str, seed: int) -> str:
        """The student whose answers a recipe's pairs are about, as in paths: a base model, or a trained one.

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
            for place, arm in enumerate(table.arms):
                for name, settings in arm_variants(arm, self.names):
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
                                arm=place,
                            )


def _published(table: Experiment, task: str, recipe: str, model: str) -> Published | None:
    """What the paper prints for a cell, if it does."""
    for number in table.published:
        if (number.task, number.recipe, number.model) == (task, recipe, model):
            return number
    return None
