"""What one cell of a table needs: a teacher with enough samples, exemplars, graders, a mentor of one vocabulary."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from distillery.config.committee_checks import check_pairs_cell
from distillery.config.exemplar_checks import check_exemplars
from distillery.config.extensions import refusal
from distillery.config.prompt import Prompt
from distillery.config.recipe import Recipe
from distillery.config.setup import Setup
from distillery.errors import UserError

if TYPE_CHECKING:
    from distillery.config.workspace import Workspace


def check_cell(workspace: "Workspace", setup_name: str, task: str, recipe_name: str, model: str) -> Iterator[UserError]:
    """Every fault of a recipe on one task and one model in one setup."""
    recipe = workspace.variants[setup_name].get(recipe_name)
    if recipe is None:
        return  # it failed before
    yield from _rows(workspace, setup_name, recipe, task)
    if recipe.pairs is not None:
        yield from check_pairs_cell(workspace, setup_name, recipe, task)
    for prompt in _prompts_of(workspace, recipe, workspace.setups[setup_name]):
        yield from check_exemplars(workspace, prompt, task)
    yield from _objective(workspace, setup_name, recipe, model)
    yield from _held_out(workspace, setup_name, recipe, task)


def _rows(workspace: "Workspace", setup: str, recipe: Recipe, task: str) -> Iterator[UserError]:
    for name, rows in (recipe.rows or {}).items():
        sampled_by = workspace.registry.row_sources[rows.source].sampler
        if sampled_by is not None and rows.grader not in workspace.graders_of(task):
            yield UserError(
                f"task {task} has no such grader",
                value=rows.grader,
                remedy=f"Use one of {', '.join(workspace.graders_of(task))}, or add it to the task's `graders`",
                **workspace.where_variant(setup, recipe.recipe, "rows", name, "grader"),
            )
        if sampled_by in (None, "mentor"):
            continue
        try:
            sampler = workspace.teacher(rows.source, setup)
        except UserError as error:
            yield error
            continue
        if sampler not in workspace.samplers:
            continue
        teacher = workspace.samplers[sampler]
        if rows.degree is not None and rows.degree > teacher.samples:
            yield UserError(
                f"sampler {sampler} draws only {teacher.samples} per question",
                value=rows.degree,
                remedy=f"Raise `samples` of {sampler}, or lower the degree",
                **workspace.where_variant(setup, recipe.recipe, "rows", name, "degree"),
            )
        yield from _form(workspace, setup, rows.source, teacher.prompt, recipe)


def _form(workspace: "Workspace", setup: str, source: str, teacher_prompt: str, recipe: Recipe) -> Iterator[UserError]:
    """Programs teach programs, texts teach texts."""
    known = workspace.registry.row_sources[source]
    wanted, key = known.form, str(known.sampler)
    if wanted is None:
        return
    for name, where in (
        (teacher_prompt, workspace.where("setups", setup, key)),
        (recipe.predict.prompt, workspace.where_variant(setup, recipe.recipe, "predict", "prompt")),
    ):
        prompt = workspace.prompts.get(name)
        if prompt is not None and prompt.form != wanted:
            yield UserError(
                f"rows from {source} are {wanted}s, and this prompt's completions are {prompt.form}s",
                value=name,
                remedy=f"Use prompts with `form: {wanted}` for both teacher and student",
                **where,
            )


def _prompts_of(workspace: "Workspace", recipe: Recipe, setup: Setup) -> Iterator[Prompt]:
    """Prompts that show exemplars of the task: the student's, and those of its teachers and mentor."""
    names = [recipe.predict.prompt, *([recipe.predict.refine.prompt] if recipe.predict.refine else [])]
    keys = {workspace.registry.row_sources[rows.source].sampler for rows in (recipe.rows or {}).values()}
    teachers = [getattr(setup, key) for key in ("teacher", "program_teacher") if key in keys]
    for teacher in [*teachers, recipe.mentor.sampler if recipe.mentor else None]:
        sampler = workspace.samplers.get(teacher or "")
        if sampler is not None:
            names.append(sampler.prompt)
    yield from (workspace.prompts[name] for name in dict.fromkeys(names) if name in workspace.prompts)


def _objective(workspace: "Workspace", setup: str, recipe: Recipe, model: str) -> Iterator[UserError]:
    """A trainer can carry out the objective on the student, and that of its mentor on the mentor."""
    if recipe.trained:
        yield from _trainer(workspace, setup, recipe, model)
    if recipe.mentor is None:
        return
    try:
        mentor = workspace.mentor_model(recipe.recipe, setup, model)
    except UserError as error:
        yield error
        return
    trained_by = workspace.variants[setup].get(recipe.mentor.trained_by)
    if mentor not in workspace.models:
        return
    if trained_by is not None:
        yield from _trainer(workspace, setup, trained_by, mentor)
    if "mentor" in recipe.objective.needs:
        yield from _one_vocabulary(workspace, setup, recipe, mentor, model)


def _trainer(workspace: "Workspace", setup: str, recipe: Recipe, model: str) -> Iterator[UserError]:
    architecture, trainers = workspace.models[model].architecture, workspace.registry.trainers
    refused = refusal(recipe.objective, architecture, trainers) if architecture in trainers else None
    if refused is not None:
        yield UserError(
            f"{refused.problem}; {model} is {architecture}",
            value=refused.value,
            remedy="Change this setting, or take another student",
            **workspace.where_variant(setup, recipe.recipe, "objective", refused.key),
        )


def _one_vocabulary(
    workspace: "Workspace", setup: str, recipe: Recipe, mentor: str, student: str
) -> Iterator[UserError]:
    """Soft labels compare distributions over one vocabulary. Architectures are known now, vocabularies once fetched."""
    kinds = {workspace.models[name].architecture for name in (mentor, student)}
    if len(kinds) > 1 and "api" not in kinds:
        yield UserError(
            f"soft labels need one vocabulary: mentor {mentor} is {workspace.models[mentor].architecture}, "
            f"student {student} is {workspace.models[student].architecture}",
            value=recipe.recipe,
            remedy="Take a mentor of the student's family, or an arm without soft labels",
            **workspace.where_variant(setup, recipe.recipe, "mentor"),
        )


def _held_out(workspace: "Workspace", setup: str, recipe: Recipe, task_name: str) -> Iterator[UserError]:
    """A share that holds out no question on average; the stage counts exactly."""
    questions = workspace.tasks[task_name].sizes.train
    share = recipe.train.held_out if recipe.train is not None else 0.0
    if share and questions is not None and not 1 <= share * questions <= questions - 1:
        yield UserError(
            f"of the {questions} train questions of {task_name}, this share holds out or leaves less than one",
            value=share,
            remedy="Choose another share, or more questions",
            **workspace.where_variant(setup, recipe.recipe, "train", "held_out"),
        )
