"""What the sources of training rows share: what they are given, and how completions become rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distillery.config.base import TaughtPart
from distillery.config.recipe import Rows
from distillery.hashing import draw_key
from distillery.records import Completion, Outcome, Question, TrainingRow, Verdict
from distillery.tasks.prompts import Renderer
from distillery.tasks.reasoning import split_reasoning, taught_rationale


@dataclass(frozen=True)
class Sampled:
    """What one sampler gave for the train split: its completions, their verdicts, and the prompt of its requests."""

    completions: Sequence[Completion]
    verdicts: Sequence[Verdict]
    renderer: Renderer
    path: Path


@dataclass(frozen=True)
class SourceInputs:
    """What one source of rows is given.

    Args:
        questions: The share of the questions that the source may use.
        name: Of the source, as the recipe calls it; every row carries it.
        source: The recipe's section.
        student: The student's prompt: renders input and target of every row.
        seed: Draws which completions stay under a cap.
        sampled: Of a source with a sampler: what that sampler gave.
        repair: The prompt that requests the repair of a program; for sources with `inject`.
    """

    questions: Sequence[Question]
    name: str
    source: Rows
    student: Renderer
    seed: int
    sampled: Sampled | None = None
    repair: Renderer | None = None


def rows_of_completions(given: SourceInputs) -> tuple[list[TrainingRow], Counter[str]]:
    """Rows from a sampler's completions: the first `degree` of each question, filtered, then capped.

    Returns:
        The rows, and how many completions were dropped, by reason.
    """
    source, sampled, by_qid = given.source, given.sampled, {question.qid: question for question in given.questions}
    assert sampled is not None  # a source with a sampler
    kept, dropped = _kept(given, sampled, by_qid)
    if source.inject:
        from distillery.programs.repair_rows import repair_rows

        assert given.repair is not None  # the recipe is checked: inject needs predict.refine
        programs = [(question, chosen, rationale_of(sampled.renderer, chosen.text)) for question, chosen in kept]
        rows, unused = repair_rows(programs, given.name, source, given.repair, given.seed)
        return rows, +(dropped + unused)
    return [_row(given, question, chosen) for question, chosen in kept], +dropped


def _kept(
    given: SourceInputs, sampled: Sampled, by_qid: Mapping[str, Question]
) -> tuple[list[tuple[Question, Completion]], Counter[str]]:
    """Completions that become rows, by question, and how many were dropped for which reason."""
    source = given.source
    outcome = {(v.qid, v.sample_index): v.outcome for v in sampled.verdicts if v.grader == source.grader}
    dropped: Counter[str] = Counter()
    right: dict[str, list[Completion]] = {}
    seen: set[tuple[str, str]] = set()
    for completion in sorted(sampled.completions, key=lambda completion: completion.sort_key()):
        qid, index = completion.qid, completion.sample_index
        if qid not in by_qid or (source.degree is not None and index >= source.degree):
            continue
        rationale = rationale_of(sampled.renderer, completion.text, source.taught)
        verdict = outcome[qid, index]
        if source.keep == "correct" and verdict != Outcome.RIGHT:
            dropped[verdict.value] += 1
        elif source.truncated == "drop" and (
            completion.finish_reason == "length" or not split_reasoning(completion.text).closed
        ):
            dropped["truncated"] += 1
        elif not rationale:
            dropped["empty rationale"] += 1
        elif _ends_early(given.student, completion.text, source.taught):
            dropped["delimiter in the thinking"] += 1
        elif source.unique and (qid, same := _same(sampled.renderer, rationale)) in seen:
            dropped["repeated"] += 1
        else:
            seen.add((qid, same if source.unique else rationale))
            right.setdefault(qid, []).append(completion)
    kept: list[tuple[Question, Completion]] = []
    for qid, completions in right.items():
        order = sorted(completions, key=lambda found: draw_key(given.seed, given.name, found.qid, found.sample_index))
        chosen = order[: source.per_question]
        dropped["over the cap"] += len(completions) - len(chosen)
        kept += [(by_qid[qid], completion) for completion in chosen]
    return kept, dropped


def rationale_of(prompted: Renderer, text: str, taught: TaughtPart = "reasoning") -> str:
    """What a completion teaches: the part `taught` of its text, or its program; empty where there is none."""
    if prompted.prompt.form == "text":
        return taught_rationale(prompted, text, taught)
    from distillery.programs.extract import extract

    return extract(text).program or ""


def _ends_early(student: Renderer, text: str, taught: TaughtPart) -> bool:
    """Whether the student would seem to answer inside the thinking, as it holds the delimiter and no tags mark it."""
    delimiter = student.prompt.delimiter
    return taught == "reasoning" and delimiter is not None and delimiter in split_reasoning(text).thinking


def _same(prompted: Renderer, rationale: str) -> str:
    """What two rationales that count as equal share."""
    if prompted.prompt.form == "text":
        return rationale
    from distillery.programs.extract import normalise

    return normalise(rationale)


def _row(given: SourceInputs, question: Question, completion: Completion) -> TrainingRow:
    assert given.sampled is not None  # a source with a sampler
    rationale = rationale_of(given.sampled.renderer, completion.text, given.source.taught)
    return TrainingRow(
        qid=question.qid,
        source=given.name,
        sample_index=completion.sample_index,
        completion_id=completion.completion_id,
        prompt=given.student.input(question.question),
        target=given.student.target(rationale, question.gold, question.question),
    )
