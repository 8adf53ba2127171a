"""Composing: which completions become training rows of a recipe, and what the rows say.

Every completion looked at is kept or dropped with a reason, and the counts add up. The target ends with the GOLD
answer, never with the model's own wording of it (Fine-tune-CoT, section 1.3).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from distillery.config.recipe import Rows
from distillery.errors import UserError
from distillery.hashing import draw_key
from distillery.records import Question, TrainingRow
from distillery.tasks.prompts import Renderer
from distillery.training.sources import ROW_SOURCES
from distillery.training.sources.common import Sampled, SourceInputs


def compose(
    questions: Sequence[Question],
    sources: Mapping[str, Rows],
    sampled: Mapping[str, Sampled],
    student: Renderer,
    *,
    seed: int,
    repair: Renderer | None = None,
) -> tuple[list[TrainingRow], dict[str, Any]]:
    """Training rows of all sources of a recipe.

    Args:
        sources: The recipe's rows, by name.
        sampled: Completions for the sources that have a sampler, by the same name.
        student: The student's prompt: renders input and target of every row.
        repair: The prompt that requests the repair of a program; for sources with `inject`.
        seed: Draws the share of questions, and which right completions stay under a cap.

    Raises:
        UserError: A source gives no row at all.
    """
    rows: list[TrainingRow] = []
    summary: dict[str, Any] = {}
    for name, source in sources.items():
        used = _share(questions, source.share, seed)
        given = SourceInputs(used, name, source, student, seed, sampled.get(name), repair)
        kept, dropped = ROW_SOURCES[source.source].rows(given)
        if not kept:
            raise _nothing_kept(name, source, dropped, sampled.get(name))
        rows += kept
        summary[name] = {
            "questions": len(used),
            "questions_with_rows": len({row.qid for row in kept}),
            "looked_at": len(kept) + sum(dropped.values()),
            "kept": len(kept),
            "dropped": dict(sorted(dropped.items())),
        }
    looked_at: dict[str, int] = {}
    for name, part in summary.items():  # two sources may read the same completions
        kind = sources[name].source
        completions = part["looked_at"] if ROW_SOURCES[kind].sampler is not None else 0
        looked_at[kind] = max(looked_at.get(kind, 0), completions)
    used_samples = sum(looked_at.values())
    return rows, {"training_rows": len(rows), "samples_used": used_samples, "sources": summary}


def _share(questions: Sequence[Question], share: float, seed: int) -> list[Question]:
    """The first `share` of the questions in a random order by seed: a smaller share is part of a larger share."""
    ordered = sorted(questions, key=lambda question: draw_key(seed, "share", question.qid, 0))
    return ordered[: math.ceil(share * len(questions))]


def _nothing_kept(name: str, source: Rows, dropped: Mapping[str, int], sampled: Sampled | None) -> UserError:
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())) or "no completions at all"
    return UserError(
        f"not one of {sum(dropped.values())} completions can be used as a rationale ({counts}; grader {source.grader})",
        file=sampled.path if sampled else None,
        key=f"rows.{name}",
        remedy=(
            "Read a few of them there; then give the teacher's prompt more exemplars or tokens, draw more samples, or "
            "take an easier task. The completions are kept"
        ),
    )
