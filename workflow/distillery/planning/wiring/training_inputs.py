"""What a student is trained from: its rows, its mentor, and the model that training starts from."""

from types import SimpleNamespace
from typing import Any, NamedTuple

from distillery.config.base import plain
from distillery.config.recipe import Recipe
from distillery.config.workspace import Workspace
from distillery.planning.wiring.paths import fill
from distillery.planning.wiring.source_inputs import base_manifest, prompt_of


class SampledSource(NamedTuple):
    """A source of rows that a model wrote: the folder below `results/completions` and `results/verdicts`."""

    whose: str
    sampler: str


def recipe_of(workspace: Workspace, wildcards: Any) -> Recipe:
    """The recipe of a path, as its setup carries it out."""
    return workspace.recipe(wildcards.recipe, wildcards.setup)


def sampled_sources(workspace: Workspace, wildcards: Any) -> dict[str, SampledSource]:
    """Sources of rows that a teacher or a mentor wrote, by name, sorted."""
    recipe = recipe_of(workspace, wildcards)
    found = {}
    for name, rows in sorted((recipe.rows or {}).items()):
        taken_from = workspace.registry.row_sources[rows.source].sampler
        if taken_from in ("teacher", "program_teacher"):
            sampler = workspace.teacher(rows.source, wildcards.setup)
            whose = fill("<sampled_teacher>", wildcards, split="train", sampler=sampler)
            found[name] = SampledSource(whose, sampler)
        elif taken_from == "mentor":
            assert recipe.mentor is not None and recipe.mentor.sampler is not None
            sampler = recipe.mentor.sampler
            mentor = mentor_of(workspace, wildcards)
            found[name] = SampledSource(fill("<sampled_mentor>", mentor, split="train", sampler=sampler), sampler)
    return found


def source_completions(workspace: Workspace, wildcards: Any) -> list[str]:
    """Completions of each sampled source."""
    sources = sampled_sources(workspace, wildcards).values()
    return [fill("<completions>/completions.jsonl", whose=source.whose) for source in sources]


def source_verdicts(workspace: Workspace, wildcards: Any) -> list[str]:
    """Verdicts on the completions of each sampled source."""
    sources = sampled_sources(workspace, wildcards).values()
    return [fill("<verdicts>/verdicts.jsonl", whose=source.whose) for source in sources]


def source_prompts(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """Prompt of each sampled source: its delimiter is where the rationale ends."""
    sources = sampled_sources(workspace, wildcards).items()
    return {name: plain(prompt_of(workspace, source.sampler)) for name, source in sources}


def row_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """Sources of rows by name, sorted."""
    rows = recipe_of(workspace, wildcards).rows or {}
    return {name: plain(source) for name, source in sorted(rows.items())}


def mentor_of(workspace: Workspace, wildcards: Any) -> SimpleNamespace:
    """Wildcards of the mentor of a recipe: its own recipe on its own base model, with the student's seed."""
    mentor = recipe_of(workspace, wildcards).mentor
    base = workspace.mentor_model(wildcards.recipe, wildcards.setup, wildcards.model)
    assert mentor is not None
    return SimpleNamespace(
        task=wildcards.task, setup=wildcards.setup, recipe=mentor.trained_by, model=base, seed=wildcards.seed
    )


def takes_soft_labels(recipe: Recipe) -> bool:
    """Whether training compares the student's distributions with those of the mentor."""
    return "mentor" in recipe.objective.needs


def soft_label_manifest(workspace: Workspace, wildcards: Any) -> str | list[str]:
    """The trained mentor, where the objective takes soft labels from it."""
    if not takes_soft_labels(recipe_of(workspace, wildcards)):
        return []
    return fill("<trained_model>/manifest.json", mentor_of(workspace, wildcards))


def stores_soft_labels(recipe: Recipe) -> bool:
    """Whether the mentor reads the rows once, before the training, and does not run beside the student."""
    return recipe.objective.soft_label_form is not None


def soft_label_recipes(workspace: Workspace) -> list[str]:
    """Recipes and variants whose soft labels are stored, in any setup."""
    return sorted(
        {
            name
            for variants in workspace.variants.values()
            for name, recipe in variants.items()
            if stores_soft_labels(recipe)
        }
    )


def soft_label_file(workspace: Workspace, wildcards: Any) -> str | list[str]:
    """What the mentor said about the rows of a training, where that is stored."""
    if not stores_soft_labels(recipe_of(workspace, wildcards)):
        return []
    return fill("<soft_labels>/labels.arrow", wildcards)


def mentor_beside(workspace: Workspace, wildcards: Any) -> str | list[str]:
    """The trained mentor, where it runs beside the student."""
    if stores_soft_labels(recipe_of(workspace, wildcards)):
        return []
    return soft_label_manifest(workspace, wildcards)


def soft_label_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """What is kept of each of a mentor's distributions."""
    form = recipe_of(workspace, wildcards).objective.soft_label_form
    assert form is not None
    return plain(form)


def training_precision(workspace: Workspace, wildcards: Any) -> str:
    """In which precision a training computes: its mentor computes in the same."""
    return training_settings(workspace, wildcards)["precision"]


def vocabulary_checks(workspace: Workspace, wildcards: Any) -> list[str]:
    """The check before soft labels are made: they need the mentor's vocabulary."""
    if not takes_soft_labels(recipe_of(workspace, wildcards)):
        return []
    mentor = mentor_of(workspace, wildcards).model
    return [fill("<base_model>/taught_by_{mentor}.json", wildcards, mentor=mentor)]


def tokenizer_checks(workspace: Workspace, wildcards: Any) -> list[str]:
    """Checks before training: soft labels need the mentor's vocabulary, programs a tokenizer that keeps newlines."""
    recipe = recipe_of(workspace, wildcards)
    checks = vocabulary_checks(workspace, wildcards)
    form = workspace.prompts[recipe.predict.prompt].form
    if form == "program" and workspace.models[wildcards.model].architecture != "causal":
        checks.append(fill("<base_model>/writes_programs.json", wildcards))
    return checks


def matched_rows(workspace: Workspace, wildcards: Any) -> str | list[str]:
    """Rows of the recipe whose number of updates a control matches, where that number follows from its rows."""
    train = recipe_of(workspace, wildcards).train
    if train is None or train.match_updates_of is None or training_settings(workspace, wildcards)["updates"]:
        return []
    return fill("<rows>/rows.jsonl", wildcards, recipe=train.match_updates_of)


def training_base(workspace: Workspace, wildcards: Any) -> str:
    """What training starts from: the base model, or the trained student whose mistakes are taught."""
    pairs = recipe_of(workspace, wildcards).pairs
    if pairs is not None and pairs.after is not None and pairs.continues:
        return fill("<trained_model>/manifest.json", wildcards, recipe=pairs.after)
    return base_manifest(wildcards.model)


def training_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """The `train` section of a recipe; a control has the number of updates of the recipe that it matches."""
    train = recipe_of(workspace, wildcards).train
    assert train is not None
    if train.match_updates_of is not None:
        matched = workspace.recipe(train.match_updates_of, wildcards.setup).train
        assert matched is not None  # settings are checked
        train = train.model_copy(update={"updates": matched.updates})
    return plain(train)


def objective_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """The `objective` section of a recipe."""
    objective = recipe_of(workspace, wildcards).objective
    assert objective is not None
    return plain(objective)


def mentor_models(workspace: Workspace) -> list[str]:
    """Base models that setups name as mentors: their training runs first."""
    return [setup.mentor for setup in workspace.setups.values() if setup.mentor]


def training_priority(workspace: Workspace, wildcards: Any) -> int:
    """20 for a student whose weights or mistakes another recipe of the setup waits for, 10 for the others.

    The longest chain of the default begins with such a student: last, its committee would keep the machine waiting.
    """
    waiting = (
        name
        for recipe in workspace.variants[wildcards.setup].values()
        for name in (
            recipe.weights_of,
            recipe.pairs.after if recipe.pairs else None,
            recipe.mentor.trained_by if recipe.mentor and recipe.mentor.model == "student" else None,
        )
    )
    return 20 if wildcards.recipe in waiting else 10
