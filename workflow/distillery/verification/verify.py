"""Verification by answer: a verdict of every grader on every completion, and how much of the sampling can be used."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distillery.config.task import Grader
from distillery.errors import UserError
from distillery.records import Completion, Outcome, Question, Verdict
from distillery.verification.judge import Reading, judge


def verify(
    completions: Iterable[Completion],
    questions: Iterable[Question],
    graders: Mapping[str, Grader],
    reading: Reading,
) -> tuple[list[Verdict], dict[str, Any], dict[str, Any]]:
    """Judge every completion with every grader; return the verdicts, their yield, and what judging has cost.

    Raises:
        UserError: A completion belongs to no question, so that the files are of different versions of the task.

    Source: Fine-tune-CoT, section 3.2 (keep a rationale when its answer equals gold); PaD specification, 1.3.
    """
    gold = {question.qid: question.gold for question in questions}
    written = list(completions)
    for completion in written:
        if completion.qid not in gold:
            raise UserError(
                "a completion belongs to no question of the task",
                key="qid",
                value=completion.qid,
                remedy="Run the workflow again, so that completions and questions are of one version",
            )
    judged = judge(written, gold, graders, reading)
    verdicts = [
        Verdict(
            completion_id=completion.completion_id,
            qid=completion.qid,
            sample_index=completion.sample_index,
            grader=name,
            outcome=graded.outcome,
            answer=graded.answer,
            reason=graded.reason,
        )
        for completion, by_grader in zip(written, judged.verdicts, strict=True)
        for name, graded in by_grader.items()
    ]
    names = reading.graders(graders)
    return verdicts, {name: yield_of([v for v in verdicts if v.grader == name]) for name in names}, judged.work


def yield_of(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """What one grader's verdicts accept: per rationale, per question, and over the degree.

    Per-rationale and per-question accuracy are two numbers that are often confused: the share of right completions, and
    the share of questions with at least one. `questions_covered` gives the latter for the first 1, 2, ... completions.
    """
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    rights: dict[str, list[int]] = defaultdict(list)
    for verdict in verdicts:
        rights[verdict.qid] += [verdict.sample_index] if verdict.outcome == Outcome.RIGHT else []
    samples = 1 + max((verdict.sample_index for verdict in verdicts), default=-1)
    covered = [
        sum(any(index < degree for index in right) for right in rights.values()) for degree in range(1, samples + 1)
    ]
    total = len(verdicts)
    return {
        "asked": total,
        "outcomes": {outcome.value: outcomes[outcome] for outcome in Outcome},
        "questions": len(rights),
        "questions_covered": covered,
        "right_per_question": dict(sorted(Counter(str(len(right)) for right in rights.values()).items())),
        "share_of_rationales": round(outcomes[Outcome.RIGHT] / total, 4) if total else None,
        "share_of_questions": round(covered[-1] / len(rights), 4) if covered and rights else None,
    }
