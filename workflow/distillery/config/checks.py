"""Cross-checks between the declarative files: names that do not exist, parts that do not fit."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from distillery.config.committee_checks import check_committee, check_pairs, check_pairs_cell
from distillery.config.extensions import refusal
from distillery.config.model import ApiModel, PrunedModel
from distillery.config.names import named
from distillery.config.recipe import Recipe, Rows
from distillery.config.setup import Setup
from distillery.errors import UserError

if TYPE_CHECKING:
    from distillery.config.workspace import Workspace


def check_workspace(workspace: "Workspace") -> list[UserError]:
    """Every fault in how the files fit together; empty when they do."""
    checks = (_settings, _models, _samplers, check_committee, _recipes, _setups, _experiments)
    return [error for check in checks for error in check(workspace)]


def _settings(workspace: "Workspace") -> Iterator[UserError]:
    for name in workspace.settings.experiments:
        yield from named(workspace, "experiments", name, "config/config.yaml", "experiments")


def _models(workspace: "Workspace") -> Iterator[UserError]:
    for name, model in workspace.models.items():
        file = workspace.files["models"][name]
        if not isinstance(model, PrunedModel):
            continue
        yield from named(workspace, "models", model.parent, file, f"{name}.parent")
        yield from _has_weights(workspace, model.parent, file, f"{name}.parent")
        parent = workspace.models.get(model.parent)
        if isinstance(parent, PrunedModel):
            yield UserError(
                "a pruned model is cut from a whole one, not from another pruned one",
                file=file,
                key=f"{name}.parent",
                value=model.parent,
                remedy=f"Prune {parent.parent} with a larger keep_every",
            )


def _has_weights(workspace: "Workspace", name: str | None, file: str, key: str) -> Iterator[UserError]:
    if isinstance(workspace.models.get(name or ""), ApiModel):
        yield UserError(
            "a model behind an endpoint can be asked, not trained or pruned",
            file=file,
            key=key,
            value=name,
            remedy="Name it in a sampler, as a teacher",
        )


def _samplers(workspace: "Workspace") -> Iterator[UserError]:
    for name, sampler in workspace.samplers.items():
        file = workspace.files["samplers"][name]
        if sampler.model != "trained":
            yield from named(workspace, "models", sampler.model, file, "model")
        yield from named(workspace, "prompts", sampler.prompt, file, "prompt")


def _recipes(workspace: "Workspace") -> Iterator[UserError]:
    seen = set()
    for setup, variants in workspace.variants.items():
        for name, recipe in variants.items():
            for error in _recipe(workspace, setup, name, recipe):
                if str(error) not in seen:  # the same fault in each setup is told once
                    seen.add(str(error))
                    yield error


def _recipe(workspace: "Workspace", setup: str, name: str, recipe: Recipe) -> Iterator[UserError]:
    file = _recipe_file(workspace, name)
    yield from named(workspace, "prompts", recipe.predict.prompt, file, "predict.prompt")
    if recipe.predict.refine is not None:
        yield from named(workspace, "prompts", recipe.predict.refine.prompt, file, "predict.refine.prompt")
    prompt = workspace.prompts.get(recipe.predict.prompt)
    if recipe.trained and prompt is not None and prompt.target is None:
        yield UserError(
            "a trained student needs a prompt with a target",
            file=file,
            key="predict.prompt",
            value=recipe.predict.prompt,
            remedy=f"Give {workspace.files['prompts'][prompt.prompt]} a `target`, or use another prompt",
        )
    if recipe.trained and prompt is not None and prompt.chat:
        yield UserError(
            "a student is taught on plain prompts, and this one uses a chat template",
            file=file,
            key="predict.prompt",
            value=recipe.predict.prompt,
            remedy="Use a prompt with `chat: false`; teachers may use either",
        )
    known = workspace.variants[setup]
    match = recipe.train.match_updates_of if recipe.train else None
    for key, value in (
        ("train.match_updates_of", match),
        ("weights_of", recipe.weights_of),
        ("mentor.trained_by", recipe.mentor.trained_by if recipe.mentor else None),
    ):
        if value is not None and value not in known:
            yield UserError(
                "no such recipe", file=file, key=key, value=value, remedy=f"Known: {', '.join(sorted(known))}"
            )
    if recipe.mentor is not None:
        yield from _mentor(workspace, recipe, known.get(recipe.mentor.trained_by), file)
    if recipe.pairs is not None:
        yield from check_pairs(workspace, known, recipe, file)


def _recipe_file(workspace: "Workspace", variant: str) -> str:
    """File of the recipe that a variant is made from: the longest recipe name that its own name begins with."""
    base = variant
    while base not in workspace.recipes:
        base = base.rpartition(".")[0]
    return workspace.files["recipes"][base]


def _mentor(workspace: "Workspace", recipe: Recipe, trained_by: Recipe | None, file: str) -> Iterator[UserError]:
    mentor = recipe.mentor
    assert mentor is not None
    if mentor.model not in {"setup", "student"}:
        yield from named(workspace, "models", mentor.model, file, "mentor.model")
    if trained_by is not None and (trained_by.rows is None or trained_by.mentor is not None):
        yield UserError(
            "a mentor is trained from the teacher's rationales, by a recipe with rows and without a mentor of its own",
            file=file,
            key="mentor.trained_by",
            value=mentor.trained_by,
            remedy="Use fine-tune-cot, or a recipe like it",
        )
    yield from named(workspace, "samplers", mentor.sampler, file, "mentor.sampler")
    sampler = workspace.samplers.get(mentor.sampler or "")
    if sampler is not None and sampler.model != "trained":
        yield UserError(
            "the mentor is the trained model, and this sampler names a model of its own",
            file=workspace.files["samplers"][sampler.sampler],
            key="model",
            value=sampler.model,
            remedy="Write `model: trained`",
        )
    for source, rows in (recipe.rows or {}).items():
        if workspace.registry.row_sources[rows.source].sampler == "mentor" and sampler is not None:
            yield from _degree(sampler.sampler, sampler.samples, rows.degree, file, source)


def _degree(sampler: str, samples: int, degree: int | None, file: str, source: str) -> Iterator[UserError]:
    if degree is not None and degree > samples:
        yield UserError(
            f"sampler {sampler} draws only {samples} per question",
            file=file,
            key=f"rows.{source}.degree",
            value=degree,
            remedy=f"Raise `samples` of {sampler}, or lower the degree",
        )


def _setups(workspace: "Workspace") -> Iterator[UserError]:
    for name, setup in workspace.setups.items():
        file = workspace.files["setups"][name]
        yield from named(workspace, "samplers", setup.teacher, file, f"{name}.teacher")
        yield from named(workspace, "samplers", setup.program_teacher, file, f"{name}.program_teacher")
        yield from named(workspace, "models", setup.mentor, file, f"{name}.mentor")
        yield from named(workspace, "committees", setup.committee, file, f"{name}.committee")
        yield from _has_weights(workspace, setup.mentor, file, f"{name}.mentor")
        for recipe in setup.recipes:
            yield from named(workspace, "recipes", recipe, file, f"{name}.recipes")
        teacher = workspace.samplers.get(setup.teacher or "")
        if teacher is not None and teacher.model == "trained":
            yield UserError(
                "a teacher is a model as it is, and this sampler waits for a trained one",
                file=file,
                key=f"{name}.teacher",
                value=setup.teacher,
                remedy="Use a sampler that names its model",
            )


def _experiments(workspace: "Workspace") -> Iterator[UserError]:
    for name, experiment in workspace.experiments.items():
        file = workspace.files["experiments"][name]
        yield from named(workspace, "setups", experiment.setup, file, "setup")
        for task in experiment.tasks:
            yield from named(workspace, "tasks", task, file, "tasks")
        models = [*experiment.students, *(model for arm in experiment.arms for model in arm.models or [])]
        for model in models:
            yield from named(workspace, "models", model, file, "students and arms.models")
            yield from _has_weights(workspace, model, file, "students and arms.models")
        setup = workspace.setups.get(experiment.setup)
        known = all(model in workspace.models for model in models)
        if setup is None or not known or any(task not in workspace.tasks for task in experiment.tasks):
            continue
        for cell in workspace.cells(name):
            yield from _cell(workspace, experiment.setup, cell.recipe, cell.model, cell.task, file)
        yield from _titles(workspace, name, file)


def _titles(workspace: "Workspace", experiment: str, file: str) -> Iterator[UserError]:
    """Rows are told apart by titles: found here, and not when all of them are computed."""
    seen: dict[str, str] = {}
    for cell in workspace.cells(experiment):
        row = f"{cell.arm_title} {cell.swept} of {cell.model} on {workspace.tasks[cell.task].title}"
        if seen.setdefault(row, cell.recipe) != cell.recipe:
            yield UserError(
                f"two arms have one title: {seen[row]} and {cell.recipe}",
                file=file,
                key="arms.title",
                value=cell.arm_title,
                remedy="Give each a title of its own",
            )


def _cell(
    workspace: "Workspace", setup_name: str, recipe_name: str, model: str, task: str, file: str
) -> Iterator[UserError]:
    """What one cell asks of its setup: a teacher with enough samples, a mentor that shares the student's vocabulary."""
    setup, recipe = workspace.setups[setup_name], workspace.variants[setup_name][recipe_name]
    for source, rows in (recipe.rows or {}).items():
        if workspace.registry.row_sources[rows.source].sampler in (None, "mentor"):
            continue
        try:
            named = workspace.teacher(rows.source, setup_name)
        except UserError as error:
            yield error
            continue
        if named in workspace.samplers:
            teacher = workspace.samplers[named]
            yield from _degree(
                teacher.sampler, teacher.samples, rows.degree, _recipe_file(workspace, recipe_name), source
            )
            yield from _form(workspace, rows.source, teacher.prompt, recipe, _recipe_file(workspace, recipe_name))
    if recipe.pairs is not None:
        yield from check_pairs_cell(workspace, setup_name, recipe, task)
    for prompt_name in _prompts_of(workspace, recipe, setup):
        prompt, task_entry = workspace.prompts[prompt_name], workspace.tasks[task]
        have = task_entry.exemplars.count or len(task_entry.exemplars.written)
        shown = prompt.exemplars * prompt.rounds
        if prompt.first_exemplar + shown > have:
            yield UserError(
                f"prompt {prompt_name} shows exemplars {prompt.first_exemplar} to "
                f"{prompt.first_exemplar + shown - 1}, and the task has {have}",
                file=workspace.files["tasks"][task],
                key="exemplars",
                remedy="Give the task more exemplars, or the prompt fewer",
            )
    if recipe.trained:
        yield from _trainer(workspace, recipe, model, file)
    soft_labels = "mentor" in recipe.objective.needs
    if soft_labels or "mentor" in {workspace.registry.row_sources[rows.source].sampler for rows in _rows(recipe)}:
        try:
            mentor = workspace.mentor_model(recipe_name, setup_name, model)
        except UserError as error:
            yield error
            return
        trained_by = workspace.variants[setup_name].get(recipe.mentor.trained_by) if recipe.mentor else None
        if trained_by is not None and mentor in workspace.models:
            yield from _trainer(workspace, trained_by, mentor, file)
        if soft_labels:
            yield from _family(workspace, mentor, model, recipe_name, file)


def _trainer(workspace: "Workspace", recipe: Recipe, model: str, file: str) -> Iterator[UserError]:
    """Whether a trainer of the student's architecture can carry out the objective."""
    architecture, trainers = workspace.models[model].architecture, workspace.registry.trainers
    refused = refusal(recipe.objective, architecture, trainers) if architecture in trainers else None
    if refused is not None:
        yield UserError(
            f"{refused.problem}; {model} is {architecture}",
            file=file,
            key=f"objective.{refused.key} of {recipe.recipe}",
            value=refused.value,
            remedy="Change this setting, or take another student",
        )


def _form(workspace: "Workspace", source: str, asked: str, recipe: Recipe, file: str) -> Iterator[UserError]:
    """Programs teach programs, texts teach texts."""
    wanted = workspace.registry.row_sources[source].form
    if wanted is None:
        return
    for prompt in (workspace.prompts.get(asked), workspace.prompts.get(recipe.predict.prompt)):
        if prompt is not None and prompt.form != wanted:
            yield UserError(
                f"rows from {source} are {wanted}s, and this prompt's completions are {prompt.form}s",
                file=file,
                key="predict.prompt" if prompt.prompt == recipe.predict.prompt else f"rows from {source}",
                value=prompt.prompt,
                remedy=f"Use prompts with `form: {wanted}` for both teacher and student",
            )


def _rows(recipe: Recipe) -> list[Rows]:
    return list((recipe.rows or {}).values())


def _prompts_of(workspace: "Workspace", recipe: Recipe, setup: Setup) -> Iterator[str]:
    if recipe.predict.prompt in workspace.prompts:
        yield recipe.predict.prompt
    keys = {workspace.registry.row_sources[rows.source].sampler for rows in _rows(recipe)}
    for teacher in (getattr(setup, key) for key in ("teacher", "program_teacher") if key in keys):
        sampler = workspace.samplers.get(teacher or "")
        if sampler is not None and sampler.prompt in workspace.prompts:
            yield sampler.prompt


def _family(workspace: "Workspace", mentor: str, student: str, recipe: str, file: str) -> Iterator[UserError]:
    """Soft labels compare distributions over one vocabulary. Architectures are known now, vocabularies once fetched."""
    if workspace.models[mentor].architecture != workspace.models[student].architecture:
        yield UserError(
            f"soft labels need one vocabulary: mentor {mentor} is {workspace.models[mentor].architecture}, "
            f"student {student} is {workspace.models[student].architecture}",
            file=file,
            key=f"arms, recipe {recipe}",
            remedy="Take a mentor of the student's family, or an arm without soft labels",
        )
