"""Which model answers, how it is prompted and decoded, and which of its predictions are scored."""

from typing import Any

from distillery.config.base import plain
from distillery.config.prompt import Prompt
from distillery.config.workspace import Workspace
from distillery.planning.wiring.paths import fill
from distillery.planning.wiring.source_inputs import base_manifest, reading_of
from distillery.planning.wiring.training_inputs import recipe_of


def answering_manifest(workspace: Workspace, wildcards: Any) -> str:
    """The model that answers: the trained student, that of another recipe, or an untrained base model."""
    recipe = recipe_of(workspace, wildcards)
    if recipe.weights_of is not None:
        return fill("<trained_model>/manifest.json", wildcards, recipe=recipe.weights_of)
    if not recipe.trained:
        return base_manifest(wildcards.model)
    return fill("<trained_model>/manifest.json", wildcards)


def student_prompt(workspace: Workspace, wildcards: Any) -> Prompt:
    """The prompt that a recipe's students answer."""
    return workspace.prompts[recipe_of(workspace, wildcards).predict.prompt]


def student_prompt_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """That prompt as plain values."""
    return plain(student_prompt(workspace, wildcards))


def student_form(workspace: Workspace, wildcards: Any) -> str:
    """Whether a student writes text or programs."""
    return student_prompt(workspace, wildcards).form


def student_reading(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """How a student's predictions are read."""
    return reading_of(workspace, wildcards, student_prompt(workspace, wildcards))


def prediction_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """Greedy decoding of a single answer for each question."""
    predict = recipe_of(workspace, wildcards).predict
    decoding = {"temperature": 0.0, "max_new_tokens": predict.max_new_tokens, "answer_tokens": predict.answer_tokens}
    return {"decoding": decoding, "prompt": student_prompt_settings(workspace, wildcards), "samples": 1}


def search_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """Prompt and decoding of a student that searches, and how it searches."""
    steps = recipe_of(workspace, wildcards).predict.steps
    assert steps is not None
    return {**prediction_settings(workspace, wildcards), "steps": plain(steps)}


def searching_recipes(workspace: Workspace) -> list[str]:
    """Recipes and variants whose students answer by step-by-step verification, in any setup."""
    return sorted(
        {
            name
            for variants in workspace.variants.values()
            for name, recipe in variants.items()
            if recipe.predict.steps is not None
        }
    )


def repair_prompt(workspace: Workspace, wildcards: Any) -> dict[str, Any] | None:
    """The prompt that asks a student to repair its program; None for a recipe without self-refinement."""
    refine = recipe_of(workspace, wildcards).predict.refine
    return plain(workspace.prompts[refine.prompt]) if refine else None


def refinement_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """Rounds and prompt with which failed programs go back to the student."""
    refine = recipe_of(workspace, wildcards).predict.refine
    assert refine is not None
    return {
        **prediction_settings(workspace, wildcards),
        "prompt": repair_prompt(workspace, wildcards),
        "rounds": refine.rounds,
        "answer": workspace.tasks[wildcards.task].answer,
    }


def final_predictions(workspace: Workspace, wildcards: Any) -> str:
    """Predictions to score: after self-refinement, where the recipe has it."""
    folder = "<refined>" if recipe_of(workspace, wildcards).predict.refine else "<predictions>"
    return fill(f"{folder}/predictions.jsonl", wildcards)


def refinement_rounds(workspace: Workspace, wildcards: Any) -> str | list[str]:
    """All versions of refined programs, where the recipe has self-refinement."""
    if recipe_of(workspace, wildcards).predict.refine is None:
        return []
    return fill("<refined>/rounds.jsonl", wildcards)
