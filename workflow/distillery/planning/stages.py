"""What planning knows of the stages: what a job of each counts, and which parameters make two jobs alike.

This is the only place where planning names them. A stage that is not listed costs what its jobs usually cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NOTHING = object()


@dataclass(frozen=True)
class StageCost:
    """How the jobs of a stage are compared.

    Args:
        unit: The count in a record's `work` that seconds are proportional to; None where jobs take equally long.
        alike: Dotted parameters that two jobs with the same rate have in common.
        limit: Dotted parameter with the longest text of a request, in tokens.
        model: The input that names the model of the job, as a manifest.
        instead: Stage with similar jobs, whose rates count where this one has none.
    """

    unit: str | None = None
    alike: tuple[str, ...] = ()
    limit: str | None = None
    model: str | None = None
    instead: str | None = None

    def alike_values(self, params: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """Values of the parameters that decide alikeness; None when the job has none of them."""
        found = [at(params, path) for path in self.alike]
        return None if all(value is NOTHING for value in found) else tuple(found)

    def longest(self, params: Mapping[str, Any]) -> int | None:
        """Tokens of the longest text that a request of the job may get."""
        found = at(params, self.limit) if self.limit else NOTHING
        return found if isinstance(found, int) else None


GENERATED = "generated"
TOKENS = "tokens"
BATCH_SIZE = "train.batch_size"

SAMPLE, ASK_TEACHERS, PEER_REVIEW, REFINE, SEARCH = "sample", "ask_teachers", "peer_review", "refine", "search"
TRAIN, SOFT_LABELS, COMPOSE, COMPOSE_PAIRS = "train", "soft_labels", "compose", "compose_pairs"
QUESTIONS, MISTAKES, BASE_MODEL = "questions", "mistakes", "base_model"

STAGES = {
    SAMPLE: StageCost(GENERATED, ("sampler",), "spec.decoding.max_new_tokens", "manifest"),
    ASK_TEACHERS: StageCost(GENERATED, ("teachers",), None, "manifest"),
    PEER_REVIEW: StageCost(GENERATED, ("reviewers",), "review.decoding.max_new_tokens", "manifest"),
    REFINE: StageCost(GENERATED, ("spec",), "spec.decoding.max_new_tokens", "manifest", SAMPLE),
    SEARCH: StageCost(GENERATED, ("spec",), "spec.decoding.max_new_tokens", "manifest", SAMPLE),
    TRAIN: StageCost(
        TOKENS, ("objective.loss", "form", "train.lora", "train.precision", "train.batch_size"), None, "base"
    ),
    SOFT_LABELS: StageCost(TOKENS, ("kept.form", "precision"), None, "mentor"),
    BASE_MODEL: StageCost(None, ("spec.kind", "spec.drop_by_influence.method")),
}
"""Stage -> how its jobs are compared."""

ABOUT_QUESTIONS = {SAMPLE, "verify", COMPOSE, "score", MISTAKES, ASK_TEACHERS, "verify_rationales", PEER_REVIEW,
                   COMPOSE_PAIRS}  # fmt: skip
"""Stages whose records are about a question each."""

PAGES = {"tables", "audit"}
"""Stages whose outputs people read."""


def cost_of(stage: str) -> StageCost:
    """How jobs of a stage are compared; for one that is not listed, by their stage only."""
    return STAGES.get(stage, StageCost())


def at(params: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; NOTHING where there is none."""
    value: Any = params
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return NOTHING
        value = value[name]
    return value
