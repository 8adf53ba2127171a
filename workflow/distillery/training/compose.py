"""Composing: which completions become training rows of a recipe, and what the rows say.

Every completion looked at is kept or dropped with a reason, and the counts add up. The target ends with the GOLD
answer, never with the model's own wording of it (Fine-tune-CoT, section 1.3).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillery.config.recipe import Rows
from distillery.errors import UserError
from distillery.hashing import draw_key
from distillery.records import Completion, Outcome, Question, TrainingRow, Verdict
from distillery.tasks.prompts import Renderer


@dataclass(frozen=True)
class Sampled:
    """What one sampler gave for the train split: its completions, their verdicts, and the prompt it was asked with."""

    completions: Sequence[Completion]
    verdicts: Sequence[Verdict]
    renderer: Renderer
    path: Path


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
        repair: The prompt that asks for the repair of a program; for sources with `inject`.
        seed: Draws the share of questions, and which right completions stay under a cap.

    Raises:
        UserError: A source has not one row to give.
    """
    rows: list[TrainingRow] = []
    summary: dict[str, Any] = {}
    for name, source in sources.items():
        used = _share(questions, source.share, seed)
        if source.source == "gold":
            kept = [_gold_row(question, name, student) for question in used]
            dropped: Counter[str] = Counter()
        else:
            kept, dropped = _from_samples(used, name, source, sampled[name], student, repair, seed)
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
    for name, part in summary.items():  # two sources may draw on the same completions
        kind = sources[name].source
        looked_at[kind] = max(looked_at.get(kind, 0), part["looked_at"]) if kind != "gold" else 0
    used_samples = sum(looked_at.values())
    return rows, {"training_rows": len(rows), "samples_used": used_samples, "sources": summary}


def _from_samples(
    questions: Sequence[Question],
    name: str,
    source: Rows,
    sampled: Sampled,
    student: Renderer,
    repair: Renderer | None,
    seed: int,
) -> tuple[list[TrainingRow], Counter[str]]:
    by_qid = {question.qid: question for question in questions}
    outcome = {(v.qid, v.sample_index): v.outcome for v in sampled.verdicts if v.grader == source.grader}
    dropped: Counter[str] = Counter()
    right: dict[str, list[Completion]] = {}
    seen: set[tuple[str, str]] = set()
    for one in sorted(sampled.completions, key=lambda one: one.sort_key()):
        if one.qid not in by_qid or (source.degree is not None and one.sample_index >= source.degree):
            continue
        rationale = reasoning(sampled.renderer, one.text)
        verdict = outcome[one.qid, one.sample_index]
        if source.keep == "correct" and verdict != Outcome.RIGHT:
            dropped[verdict.value] += 1
        elif source.truncated == "drop" and one.finish_reason == "length":
            dropped["truncated"] += 1
        elif not rationale:
            dropped["empty rationale"] += 1
        elif source.unique and (one.qid, same := _same(sampled.renderer, rationale)) in seen:
            dropped["repeated"] += 1
        else:
            seen.add((one.qid, same if source.unique else rationale))
            right.setdefault(one.qid, []).append(one)
    kept: list[tuple[Question, Completion]] = []
    for qid, ones in right.items():
        chosen = sorted(ones, key=lambda one: draw_key(seed, name, qid, one.sample_index))[: source.per_question]
        dropped["over the cap"] += len(ones) - len(chosen)
        kept += [(by_qid[qid], one) for one in chosen]
    if source.inject:
        from distillery.programs.repair_rows import repair_rows

        assert repair is not None  # the recipe is checked: inject needs predict.refine
        programs = [(question, one, reasoning(sampled.renderer, one.text)) for question, one in kept]
        rows, unused = repair_rows(programs, name, source, repair, seed)
        return rows, +(dropped + unused)
    return [_row(question, name, one, sampled.renderer, student) for question, one in kept], +dropped


def reasoning(asked: Renderer, text: str) -> str:
    """What a completion reasons: the rationale before its answer, or its program; empty where there is none."""
    if asked.prompt.form == "text":
        return asked.rationale(text)
    from distillery.programs.extract import extract

    return extract(text).program or ""


def _same(asked: Renderer, rationale: str) -> str:
    """What two rationales that count as equal share."""
    if asked.prompt.form == "text":
        return rationale
    from distillery.programs.extract import normalise

    return normalise(rationale)


def _row(question: Question, source: str, one: Completion, asked: Renderer, student: Renderer) -> TrainingRow:
    return TrainingRow(
        qid=question.qid,
        source=source,
        sample_index=one.sample_index,
        completion_id=one.completion_id,
        prompt=student.input(question.question),
        target=student.target(reasoning(asked, one.text), question.gold, question.question),
    )


def _gold_row(question: Question, source: str, student: Renderer) -> TrainingRow:
    return TrainingRow(
        qid=question.qid,
        source=source,
        sample_index=0,
        completion_id=None,
        prompt=student.input(question.question),
        target=student.target(question.rationale or "", question.gold, question.question),
    )


def _share(questions: Sequence[Question], share: float, seed: int) -> list[Question]:
    """The first `share` of the questions in an order drawn by seed: a smaller share is part of a larger one."""
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
            "take an easier task. What was sampled is kept"
        ),
    )
