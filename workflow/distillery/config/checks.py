"""Cross-checks between the declarative files: names that do not exist, parts that do not fit."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from distillery.config.committee_checks import check_committee, check_pairs
from distillery.config.experiment_checks import check_experiments
from distillery.config.model import ApiModel, Influence, PrunedModel
from distillery.config.names import named
from distillery.config.recipe import Recipe
from distillery.config.task import FileSource, GeneratorSource, ReasoningGymSource
from distillery.config.template_checks import check_templates
from distillery.errors import UserError

if TYPE_CHECKING:
    from distillery.config.workspace import Workspace

DATA_FILES = (".json", ".jsonl", ".csv", ".parquet")
"""Kinds of local files that a task is read from (tasks.sources)."""


def check_workspace(workspace: "Workspace") -> list[UserError]:
    """Every fault in how the files fit together; empty when they do."""
    checks = (
        _settings,
        _tasks,
        _models,
        _samplers,
        check_committee,
        _recipes,
        _setups,
        check_templates,
        check_experiments,
    )
    return [error for check in checks for error in check(workspace)]


def _settings(workspace: "Workspace") -> Iterator[UserError]:
    for name in workspace.settings.experiments:
        yield from named(workspace, "experiments", name, workspace.where("settings", "", "experiments", value=name))


def _tasks(workspace: "Workspace") -> Iterator[UserError]:
    for name, task in workspace.tasks.items():
        if task.exemplars.count and not isinstance(task.source, GeneratorSource):
            yield UserError(
                "only the project's own generators make exemplars",
                value=task.exemplars.count,
                remedy="Write the exemplars out under exemplars.written",
                **workspace.where("tasks", name, "exemplars", "count"),
            )
        if isinstance(task.source, GeneratorSource | ReasoningGymSource):
            for split in ("train", "test"):
                if getattr(task.sizes, split) is None:
                    yield UserError(
                        "a generator has no end, so the task must say how many questions it wants",
                        remedy=f"Add sizes: {{{split}: 200}}",
                        **workspace.where("tasks", name, "sizes", split),
                    )
        if isinstance(task.source, FileSource):
            for split, file in task.source.files.items():
                if Path(file).suffix.lower() not in DATA_FILES:
                    yield UserError(
                        "unknown kind of file",
                        value=file,
                        remedy=f"Use one of {', '.join(DATA_FILES)}",
                        **workspace.where("tasks", name, "source", "files", split),
                    )


def _models(workspace: "Workspace") -> Iterator[UserError]:
    for name, model in workspace.models.items():
        if not isinstance(model, PrunedModel):
            continue
        where = workspace.where("models", name, "parent")
        yield from named(workspace, "models", model.parent, where)
        yield from _has_weights(workspace, model.parent, where)
        parent = workspace.models.get(model.parent)
        if isinstance(parent, PrunedModel):
            yield UserError(
                "a pruned model is cut from a whole one, not from another pruned one",
                value=model.parent,
                remedy=f"Prune {parent.parent} itself, with other layers",
                **where,
            )
        elif parent is not None and "encoder-decoder" in (parent.architecture, model.architecture):
            remedy = "Choose a causal parent, or a smaller model"
            yield UserError("only causal models can be pruned", value=model.parent, remedy=remedy, **where)
        if model.drop_by_influence is not None:
            yield from _influence(workspace, name, model.drop_by_influence)


def _influence(workspace: "Workspace", name: str, influence: Influence) -> Iterator[UserError]:
    def where(key: str) -> dict:
        return workspace.where("models", name, "drop_by_influence", key)

    yield from named(workspace, "tasks", influence.task, where("task"))
    yield from named(workspace, "prompts", influence.prompt, where("prompt"))
    prompt = workspace.prompts.get(influence.prompt)
    if prompt is not None and (prompt.target is None or prompt.chat):
        yield UserError(
            "the influence of layers is measured on the target of a plain prompt, and this one has "
            + ("no `target`" if prompt.target is None else "a chat template"),
            value=influence.prompt,
            remedy="Name a student's prompt, such as student-cot",
            **where("prompt"),
        )


def _has_weights(workspace: "Workspace", name: str | None, where: dict) -> Iterator[UserError]:
    if isinstance(workspace.models.get(name or ""), ApiModel):
        yield UserError(
            "a model behind an endpoint can generate text, and cannot be trained or pruned",
            value=name,
            remedy="Name it in a sampler, as a teacher",
            **where,
        )


def _samplers(workspace: "Workspace") -> Iterator[UserError]:
    for name, sampler in workspace.samplers.items():
        if sampler.model != "trained":
            yield from named(workspace, "models", sampler.model, workspace.where("samplers", name, "model"))
        yield from named(workspace, "prompts", sampler.prompt, workspace.where("samplers", name, "prompt"))


def _recipes(workspace: "Workspace") -> Iterator[UserError]:
    for setup, variants in workspace.variants.items():
        for name, recipe in variants.items():
            yield from _recipe(workspace, setup, name, recipe)


def _recipe(workspace: "Workspace", setup: str, name: str, recipe: Recipe) -> Iterator[UserError]:
    def where(path: str) -> dict:
        return workspace.where_variant(setup, name, *path.split("."))

    yield from named(workspace, "prompts", recipe.predict.prompt, where("predict.prompt"))
    if recipe.predict.refine is not None:
        yield from named(workspace, "prompts", recipe.predict.refine.prompt, where("predict.refine.prompt"))
    prompt = workspace.prompts.get(recipe.predict.prompt)
    if recipe.trained and prompt is not None and prompt.target is None:
        yield UserError(
            "a trained student needs a prompt with a target",
            value=recipe.predict.prompt,
            remedy=f"Give {workspace.files['prompts'][prompt.prompt]} a `target`, or use another prompt",
            **where("predict.prompt"),
        )
    if recipe.trained and prompt is not None and prompt.chat:
        yield UserError(
            "a student is taught on plain prompts, and this one uses a chat template",
            value=recipe.predict.prompt,
            remedy="Use a prompt with `chat: false`; teachers may use either",
            **where("predict.prompt"),
        )
    known = workspace.variants[setup]
    for key, other in (
        ("train.match_updates_of", recipe.train.match_updates_of if recipe.train else None),
        ("weights_of", recipe.weights_of),
        ("mentor.trained_by", recipe.mentor.trained_by if recipe.mentor else None),
    ):
        if other is not None and other not in known:
            remedy = f"Known: {', '.join(sorted(known))}"
            yield UserError("no such recipe", value=other, remedy=remedy, **where(key))
        elif other is not None and not known[other].trained and key != "mentor.trained_by":
            remedy = "Name a recipe with `train`, such as fine-tune-cot"
            yield UserError("this recipe trains no student", value=other, remedy=remedy, **where(key))
    train = recipe.train
    if train is not None and train.updates is not None and train.match_updates_of is not None:
        matched = known[train.match_updates_of].train if train.match_updates_of in known else None
        if matched is not None and matched.updates != train.updates:
            yield UserError(
                f"a control makes as many updates as {train.match_updates_of}: {matched.updates or 'whole epochs'}",
                value=train.updates,
                remedy="Leave `updates` or `match_updates_of` out",
                **where("train.updates"),
            )
    if recipe.mentor is not None:
        yield from _mentor(workspace, setup, recipe, known.get(recipe.mentor.trained_by))
    if recipe.pairs is not None:
        yield from check_pairs(workspace, known, recipe, lambda key: where(f"pairs.{key}"))


def _mentor(workspace: "Workspace", setup: str, recipe: Recipe, trained_by: Recipe | None) -> Iterator[UserError]:
    mentor = recipe.mentor
    assert mentor is not None

    def where(*path: str) -> dict:
        return workspace.where_variant(setup, recipe.recipe, *path)

    if mentor.model not in {"setup", "student"}:
        yield from named(workspace, "models", mentor.model, where("mentor", "model"))
        yield from _has_weights(workspace, mentor.model, where("mentor", "model"))
    if trained_by is not None and (trained_by.rows is None or trained_by.mentor is not None):
        yield UserError(
            "a mentor is trained from the teacher's rationales, by a recipe with rows and without a mentor of its own",
            value=mentor.trained_by,
            remedy="Use fine-tune-cot, or a recipe like it",
            **where("mentor", "trained_by"),
        )
    yield from named(workspace, "samplers", mentor.sampler, where("mentor", "sampler"))
    sampler = workspace.samplers.get(mentor.sampler or "")
    if sampler is not None and sampler.model != "trained":
        yield UserError(
            "the mentor is the trained model, and this sampler names a model of its own",
            value=sampler.model,
            remedy="Write `model: trained`",
            **workspace.where("samplers", sampler.sampler, "model"),
        )
    for source, rows in (recipe.rows or {}).items():
        of_mentor = workspace.registry.row_sources[rows.source].sampler == "mentor"
        if of_mentor and sampler is not None and (rows.degree or 1) > sampler.samples:
            yield UserError(
                f"sampler {sampler.sampler} draws only {sampler.samples} per question",
                value=rows.degree,
                remedy=f"Raise `samples` of {sampler.sampler}, or lower the degree",
                **where("rows", source, "degree"),
            )


def _setups(workspace: "Workspace") -> Iterator[UserError]:
    for name, setup in workspace.setups.items():
        for key, section in (
            ("teacher", "samplers"),
            ("program_teacher", "samplers"),
            ("mentor", "models"),
            ("committee", "committees"),
        ):
            yield from named(workspace, section, getattr(setup, key), workspace.where("setups", name, key))
        yield from _has_weights(workspace, setup.mentor, workspace.where("setups", name, "mentor"))
        for recipe in setup.recipes:
            yield from named(workspace, "recipes", recipe, workspace.where("setups", name, "recipes", recipe))
        for key, sampler in (("teacher", setup.teacher), ("program_teacher", setup.program_teacher)):
            teacher = workspace.samplers.get(sampler or "")
            if teacher is not None and teacher.model == "trained":
                yield UserError(
                    "a teacher is not trained here, and this sampler takes a trained model",
                    value=sampler,
                    remedy="Use a sampler that names its model",
                    **workspace.where("setups", name, key),
                )
