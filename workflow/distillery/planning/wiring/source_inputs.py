"""What questions, base models and completions are made from, and how completions are read."""

from pathlib import Path
from typing import Any

from distillery.config.base import plain
from distillery.config.model import Influence, PrunedModel
from distillery.config.prompt import Prompt
from distillery.config.workspace import Workspace
from distillery.planning.wiring.paths import fill
from distillery.verification.graders import graders_of


def task_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """A task without what only graders, tables and people read."""
    return plain(workspace.tasks[wildcards.task], without={"title", "licence", "changes", "graders"})


def checked_task_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """A task with its graders: what the check of its gold answers depends on."""
    return plain(workspace.tasks[wildcards.task], without={"title", "licence", "changes"})


def task_files(workspace: Workspace, wildcards: Any) -> list[str]:
    """Local data files of a task."""
    source = workspace.tasks[wildcards.task].source
    files = [*source.files.values(), source.split_file] if source.kind == "file" else []
    return [file for file in files if file]


def graders(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """Graders of a task by name."""
    return {name: plain(grader) for name, grader in sorted(graders_of(workspace.tasks[wildcards.task]).items())}


def base_manifest(model: str) -> str:
    """The manifest of a base model."""
    return fill("<base_model>/manifest.json", model=model)


def model_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """A model without what only people and budgets read."""
    return plain(workspace.models[wildcards.model], without={"licence", "price"})


def parent_manifest(workspace: Workspace, wildcards: Any) -> str | list[str]:
    """The whole model that a pruned one is cut from."""
    parent = workspace.parent(wildcards.model)
    return base_manifest(parent) if parent else []


def influence_of(workspace: Workspace, wildcards: Any) -> Influence | None:
    """How the layers of a pruned model are chosen, where train questions choose them."""
    model = workspace.models[wildcards.model]
    return model.drop_by_influence if isinstance(model, PrunedModel) else None


def influence_questions(workspace: Workspace, wildcards: Any) -> str | list[str]:
    """Train questions that choose the layers of a pruned model."""
    influence = influence_of(workspace, wildcards)
    return fill("<questions>/train.jsonl", task=influence.task) if influence else []


def influence_exemplars(workspace: Workspace, wildcards: Any) -> str | list[str]:
    """Exemplars of the same task, for prompts that show some."""
    influence = influence_of(workspace, wildcards)
    return fill("<questions>/exemplars.jsonl", task=influence.task) if influence else []


def influence_prompt(workspace: Workspace, wildcards: Any) -> dict[str, Any] | None:
    """The prompt that makes texts of these questions."""
    influence = influence_of(workspace, wildcards)
    return plain(workspace.prompts[influence.prompt]) if influence else None


def base_model_threads(workspace: Workspace, wildcards: Any) -> int:
    """Cores of the job: measuring layers runs the parent some hundred times, everything else waits for the disk."""
    return 8 if influence_of(workspace, wildcards) else 1


def local_model_files(workspace: Workspace, wildcards: Any) -> list[str]:
    """Files of a model on this disk: they may change, where pinned revisions and digests cannot."""
    model = workspace.models[wildcards.model]
    return sorted(str(file) for file in Path(model.path).rglob("*") if file.is_file()) if model.kind == "local" else []


def sampled_manifest(workspace: Workspace, wildcards: Any) -> str:
    """The model that writes completions: a trained one, an untrained student, or else the sampler's own."""
    if hasattr(wildcards, "recipe"):
        return fill("<trained_model>/manifest.json", wildcards)
    if hasattr(wildcards, "model"):
        return base_manifest(wildcards.model)
    return base_manifest(workspace.samplers[wildcards.sampler].model)


def sampler_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """Prompt and decoding of a sampler, and its completions for each question."""
    sampler = workspace.samplers[wildcards.sampler]
    return {
        "decoding": plain(sampler.decoding),
        "prompt": plain(prompt_of(workspace, wildcards.sampler)),
        "samples": sampler.samples,
    }


def prompt_of(workspace: Workspace, sampler: str) -> Prompt:
    """The prompt of a sampler."""
    return workspace.prompts[workspace.samplers[sampler].prompt]


def reading_of(workspace: Workspace, wildcards: Any, prompt: Prompt) -> dict[str, Any]:
    """How completions of a prompt are read: as text with an answer at the end, or as a program."""
    return {"form": prompt.form, "delimiter": prompt.delimiter, "answer": workspace.tasks[wildcards.task].answer}


def sampler_reading(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """How completions of a sampler are read."""
    return reading_of(workspace, wildcards, prompt_of(workspace, wildcards.sampler))
