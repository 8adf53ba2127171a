# The checked workspace, and every function that rules ask: which file, which parameters.
import functools
import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from snakemake.exceptions import WorkflowError

LIBRARY = str(Path(workflow.basedir, "workflow").resolve())
sys.path.insert(0, LIBRARY)
# Jobs import the library of this very Snakefile, whatever else is installed.
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [LIBRARY, os.environ.get("PYTHONPATH")])))

from distillery.verification.graders import graders_of
from distillery.sampling.budget import LIMITS_VARIABLE, PRICES_VARIABLE, RUN_VARIABLE
from distillery.jobs.code_digest import code_digest, library_versions
from distillery.config.base import plain
from distillery.config.load import load_workspace
from distillery.errors import UserError
from distillery.programs.run import SANDBOX_VARIABLE
from distillery.jobs.locks import hold_for_life

try:
    workspace = load_workspace(config)
except UserError as error:
    raise WorkflowError(f"The configuration has faults:\n{error}") from None


# What a run may spend is no part of what it makes: its jobs are told through the environment.
os.environ.setdefault(RUN_VARIABLE, f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}")
os.environ[LIMITS_VARIABLE] = json.dumps(plain(workspace.settings.budget))
os.environ[SANDBOX_VARIABLE] = workspace.settings.sandbox
os.environ[PRICES_VARIABLE] = json.dumps(workspace.prices())


def hold_folder():
    """Refuse to run beside another run in this folder; unlike Snakemake's own lock, this one dies with its owner."""
    holder = hold_for_life(Path(".snakemake", "distillery.lock"))
    if holder:
        raise WorkflowError(f"Another run is at work in this folder: {holder}. Wait for it, or end it.")


def any_of(names):
    """Pattern of a wildcard: exactly these names, so that no path can mean two things."""
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True)) or "none-declared"


def code(stage):
    """Digest of the code that a stage runs: Snakemake does not see imports, so an edit must show as a parameter."""
    return code_digest(Path(workflow.basedir, "workflow", "scripts", f"{stage}.py"))


def every_table(wildcards):
    """Tables and figures of the experiments that the settings name."""
    return expand(
        "results/tables/{experiment}/{file}",
        experiment=workspace.settings.experiments,
        file=["table.md", "table.csv", "table.parquet", "table.html", "figure.svg", "figure.png"],
    )


def task_spec(wildcards):
    """A task without what only tables and people read."""
    return plain(workspace.tasks[wildcards.task], without={"title", "licence", "changes", "graders"})


def task_files(wildcards):
    """Local data files of a task."""
    source = workspace.tasks[wildcards.task].source
    files = [*source.files.values(), source.split_file] if source.kind == "file" else []
    return [file for file in files if file]


def recipe_of(wildcards):
    """The recipe of a path, as its setup carries it out."""
    return workspace.recipe(wildcards.recipe, wildcards.setup)


def grading(wildcards):
    """Graders of a task by name."""
    return {name: plain(grader) for name, grader in sorted(graders_of(workspace.tasks[wildcards.task]).items())}


def base_manifest(model):
    return f"results/base_models/{model}/manifest.json"


def parent_manifest(wildcards):
    """The whole model that a pruned one is cut from."""
    parent = workspace.parent(wildcards.model)
    return base_manifest(parent) if parent else []


def local_model_files(wildcards):
    """What a model on this disk is read from: its files may change, where pinned revisions and digests cannot."""
    model = workspace.models[wildcards.model]
    return sorted(str(file) for file in Path(model.path).rglob("*") if file.is_file()) if model.kind == "local" else []


def trained_manifest(task, setup, recipe, model, seed):
    return f"results/models/{task}/{setup}/{recipe}/{model}/seed{seed}/manifest.json"


def answering_manifest(wildcards):
    """The model that answers: the trained one, or for a prompting baseline the base model as it is."""
    recipe = recipe_of(wildcards)
    if recipe.weights_of is not None:
        return trained_manifest(**{**wildcards_of(wildcards), "recipe": recipe.weights_of})
    if not recipe.trained:
        return base_manifest(wildcards.model)
    return trained_manifest(**wildcards_of(wildcards))


def wildcards_of(wildcards):
    """Identity of a trained model, from the wildcards of any rule about it."""
    return {name: wildcards[name] for name in ("task", "setup", "recipe", "model", "seed")}


def mentor_identity(wildcards):
    """Identity of the mentor of a recipe: its own recipe on its own base model, with the student's seed."""
    mentor = recipe_of(wildcards).mentor
    base = workspace.mentor_model(wildcards.recipe, wildcards.setup, wildcards.model)
    return {**wildcards_of(wildcards), "recipe": mentor.trained_by, "model": base}


def soft_label_manifest(wildcards):
    """The mentor's manifest, where the objective takes soft labels from it."""
    if recipe_of(wildcards).objective.loss != "mentor-kd":
        return []
    return trained_manifest(**mentor_identity(wildcards))


def tokenizer_checks(wildcards):
    """That mentor and student share a vocabulary, where there are soft labels; that programs survive tokenising."""
    checks = []
    if recipe_of(wildcards).objective.loss == "mentor-kd":
        checks.append(f"results/base_models/{wildcards.model}/taught_by_{mentor_identity(wildcards)['model']}.json")
    if student_prompt(wildcards).form == "program" and workspace.models[wildcards.model].architecture != "causal":
        checks.append(f"results/base_models/{wildcards.model}/writes_programs.json")
    return checks


def sampled_sources(wildcards):
    """Sources of rows that come from a sampler, sorted by name -> (folder of its files, sampler)."""
    recipe = recipe_of(wildcards)
    found = {}
    for name, rows in sorted((recipe.rows or {}).items()):
        if rows.source in ("teacher", "programs"):
            sampler = workspace.teacher(rows.source, wildcards.setup)
            found[name] = (f"{wildcards.task}/train/{sampler}", sampler)
        elif rows.source == "mentor":
            who = mentor_identity(wildcards)
            path = "{task}/train/{sampler}/{setup}/{recipe}/{model}/seed{seed}".format(
                sampler=recipe.mentor.sampler, **who
            )
            found[name] = (path, recipe.mentor.sampler)
    return found


def source_completions(wildcards):
    return [f"results/completions/{path}/completions.jsonl" for path, _ in sampled_sources(wildcards).values()]


def source_verdicts(wildcards):
    return [f"results/verdicts/{path}/verdicts.jsonl" for path, _ in sampled_sources(wildcards).values()]


def source_prompts(wildcards):
    """Prompt of each sampled source: where its rationales end is told by its delimiter."""
    return {name: plain(prompt_of(sampler)) for name, (_, sampler) in sampled_sources(wildcards).items()}


def prompt_of(sampler):
    return workspace.prompts[workspace.samplers[sampler].prompt]


def sampler_manifest(wildcards):
    return base_manifest(workspace.samplers[wildcards.sampler].model)


def sampler_spec(wildcards):
    """What a sampler asks, and how often."""
    sampler = workspace.samplers[wildcards.sampler]
    return {
        "decoding": plain(sampler.decoding),
        "prompt": plain(prompt_of(wildcards.sampler)),
        "samples": sampler.samples,
    }


def reading(wildcards, prompt):
    """How completions of a prompt are read: for their answer, or run as programs."""
    return {"form": prompt.form, "delimiter": prompt.delimiter, "answer": workspace.tasks[wildcards.task].answer}


def repair_prompt(wildcards):
    """The prompt that asks a student to mend its program; None for a recipe without self-refinement."""
    refine = recipe_of(wildcards).predict.refine
    return plain(workspace.prompts[refine.prompt]) if refine else None


def searching_recipes():
    """Recipes and variants whose students answer by step-by-step verification, in every setup."""
    return sorted(
        {name for variants in workspace.variants.values() for name, one in variants.items() if one.predict.steps}
    )


def search_spec(wildcards):
    """Prompt and decoding of a student, and how it searches."""
    return {**predict_spec(wildcards), "steps": plain(recipe_of(wildcards).predict.steps)}


def refine_spec(wildcards):
    """How often, and with which words, failed programs go back to the student."""
    return {
        **predict_spec(wildcards),
        "prompt": repair_prompt(wildcards),
        "rounds": recipe_of(wildcards).predict.refine.rounds,
        "answer": workspace.tasks[wildcards.task].answer,
    }


def final_predictions(wildcards):
    """Predictions to score: after self-refinement, where the recipe has it."""
    stage = "refined" if recipe_of(wildcards).predict.refine else "predictions"
    return f"results/{stage}/{{task}}/{{split}}/{{setup}}/{{recipe}}/{{model}}/seed{{seed}}/predictions.jsonl"


def refinement_rounds(wildcards):
    if recipe_of(wildcards).predict.refine is None:
        return []
    return "results/refined/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/rounds.jsonl"


def student_prompt(wildcards):
    return workspace.prompts[recipe_of(wildcards).predict.prompt]


def predict_spec(wildcards):
    """Greedy decoding of one answer for each question."""
    predict = recipe_of(wildcards).predict
    decoding = {"temperature": 0.0, "max_new_tokens": predict.max_new_tokens, "answer_tokens": predict.answer_tokens}
    return {"decoding": decoding, "prompt": plain(student_prompt(wildcards)), "samples": 1}


def matched_rows(wildcards):
    """Rows of the recipe whose number of updates a control matches."""
    match = recipe_of(wildcards).train.match_updates_of
    if match is None:
        return []
    return "results/rows/{task}/{setup}/{match}/{model}/seed{seed}/rows.jsonl".format(
        match=match, **wildcards_of(wildcards)
    )


def table_cells(wildcards):
    """Every cell of a table as plain values: what it is, and the files that hold its numbers."""
    return cells_of(wildcards.experiment)


@functools.cache
def cells_of(experiment):
    """The same, made once for all inputs and parameters that ask for it."""
    setup = workspace.experiments[experiment].setup
    cells = []
    for cell in workspace.cells(experiment):
        who = f"{setup}/{cell.recipe}/{cell.model}/seed{cell.seed}"
        recipe = workspace.recipe(cell.recipe, setup)
        taught = recipe.weights_of or (cell.recipe if recipe.trained else None)
        student = f"{cell.task}/{setup}/{taught}/{cell.model}/seed{cell.seed}"
        costs = [f"results/{stage}/{student}/summary.json" for stage in ("rows", "models")] if taught else []
        cells.append(
            {
                "task": cell.task,
                "task_title": workspace.tasks[cell.task].title,
                "recipe": cell.recipe,
                "arm_title": cell.arm_title,
                "model": cell.model,
                "seed": cell.seed,
                "scores": f"results/scores/{cell.task}/test/{who}/scores.json",
                "predictions": f"results/scores/{cell.task}/test/{who}/graded.jsonl",
                "swept": cell.swept,
                "published": cell.published.accuracy if cell.published else None,
                "published_source": cell.published.source if cell.published else None,
                "costs": costs,
                "note": committee_note(cell.recipe, setup),
            }
        )
    return cells


def refined_cells(wildcards):
    """Scores file -> file of all versions, of the cells whose students mend their programs."""
    setup = workspace.experiments[wildcards.experiment].setup
    return {
        cell["scores"]: "results/refined/{task}/test/{setup}/{recipe}/{model}/seed{seed}/rounds.jsonl".format(
            setup=setup, **{name: cell[name] for name in ("task", "recipe", "model", "seed")}
        )
        for cell in table_cells(wildcards)
        if workspace.recipe(cell["recipe"], setup).predict.refine is not None
    }


def mentor_models():
    """Base models that setups name as mentors, for the name of their training rule."""
    return [setup.mentor for setup in workspace.setups.values() if setup.mentor]
