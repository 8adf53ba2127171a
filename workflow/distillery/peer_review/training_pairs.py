"""Pairs: per mistake one feedback row and one rationale row, which the objective `two-task` trains together.

    mode               feedback of                rationale of
    mixed              one teacher, at random     one accepted rationale, at random (the method)
    single             the named teacher          that teacher, unreviewed
    mixed-unreviewed   one teacher, at random     any teacher, at random

Every mistake becomes a pair or is dropped with a reason: of the 387 released SVAMP mistakes 365 are pairs, and 22 have
no accepted rationale. The random choice is made once for all epochs; it depends on seed and question alone.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from distillery.config.base import TaughtPart
from distillery.errors import UserError
from distillery.hashing import draw_key
from distillery.peer_review.records import Acceptance, Decision, Mistake, is_null
from distillery.records import Completion, TrainingRow
from distillery.tasks.prompts import Renderer
from distillery.tasks.reasoning import join_reasoning, split_reasoning, taught_rationale

Mode = Literal["mixed", "single", "mixed-unreviewed"]


def pair_rows(
    mistakes: Sequence[Mistake],
    feedback: Iterable[Completion],
    rationales: Iterable[Completion],
    acceptances: Iterable[Acceptance],
    *,
    mode: Mode,
    teacher: str | None = None,
    taught: TaughtPart = "reasoning",
    feedback_input: Callable[[Mistake], str],
    student: Renderer,
    seed: int,
) -> tuple[list[TrainingRow], dict[str, Any]]:
    """Training rows of the two tasks, two for each mistake that has both parts.

    Args:
        mistakes: Of the student.
        feedback: Teachers' feedback on them; `sampler` is the teacher.
        rationales: Teachers' rationales for their questions.
        acceptances: Decisions on the rationales; read by mode `mixed` alone.
        mode: See the head of this module.
        teacher: Whose texts mode `single` takes.
        taught: Which part of a rationale is taught, where its teacher thought before it wrote. Of feedback it is always
            the answer: the thinking is about the student, not to it.
        feedback_input: Prompt of a feedback row: question, wrong answer and gold answer in a template.
        student: The student's prompt: renders the rationale rows. A target template with `answer` puts the gold answer
            behind a rationale, which may have come to another answer. A template without it shows the teacher's
            text unchanged, with the teacher's own answer (as in the paper).
        seed: Seed of the random choice (paper: 731, with another generator).

    Returns:
        Rows with `source` `feedback` and `rationale` and `sample_index` 0; and a summary in which `mistakes` is
        `pairs` plus the sum of `dropped`, and `teachers` says who wrote how many of each.

    Raises:
        UserError: Mode and teacher do not fit, the teacher gave nothing at all, or no pair is left.

    Source: MAPD (arXiv 2410.03663); public code, data.py. There an item without both parts is lost in a
    bare `except`.
    """
    if (mode == "single") != (teacher is not None):
        raise UserError("mode `single` needs a teacher, and the other modes take none", key="teacher", value=teacher)
    accepted = {acceptance.completion_id for acceptance in acceptances if acceptance.decision == Decision.ACCEPTED}
    remarks = _by_question(feedback, lambda completion: teacher in (None, completion.sampler))
    reasoned = _by_question(
        rationales,
        lambda completion: (
            teacher in (None, completion.sampler) and (mode != "mixed" or completion.completion_id in accepted)
        ),
    )
    rows: list[TrainingRow] = []
    dropped: Counter[str] = Counter()
    authors = {"feedback": Counter[str](), "rationale": Counter[str]()}
    for mistake in sorted(mistakes, key=lambda mistake: mistake.qid):
        remark = _chosen(remarks.get(mistake.qid, []), seed, "feedback", mistake.qid)
        rationale = _chosen(reasoned.get(mistake.qid, []), seed, "rationale", mistake.qid)
        if remark is None:
            dropped["no feedback"] += 1
        elif rationale is None:
            dropped["no accepted rationale" if mode == "mixed" else "no rationale"] += 1
        else:
            authors["feedback"][remark.sampler] += 1
            authors["rationale"][rationale.sampler] += 1
            target = student.target(_taught(student, rationale.text, taught), mistake.gold, mistake.question)
            said = split_reasoning(remark.text).answer.strip()
            rows.append(_row(mistake, "feedback", remark, feedback_input(mistake), said))
            rows.append(_row(mistake, "rationale", rationale, student.input(mistake.question), target))
    if not rows:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())) or "no mistakes"
        raise UserError(
            f"no mistake has both feedback and a rationale ({counts})",
            key="mode",
            value=mode if teacher is None else f"{mode}, {teacher}",
            remedy="Lower the threshold, check the teachers' names, or take an easier task",
        )
    return rows, {
        "mistakes": len(mistakes),
        "pairs": len(rows) // 2,
        "dropped": dict(sorted(dropped.items())),
        "teachers": {task: dict(sorted(counts.items())) for task, counts in authors.items()},
    }


def _taught(student: Renderer, text: str, taught: TaughtPart) -> str:
    """The rationale of a row. Under a target without the gold answer it ends with the teacher's own answer."""
    if student.target_shows_answer:
        return taught_rationale(student, text, taught)
    parts = split_reasoning(text)
    if taught == "answer" or not parts.thinking:
        return parts.answer.strip()
    if taught == "both":
        return join_reasoning(parts.thinking, parts.answer)
    delimiter = student.prompt.delimiter
    conclusion = max(parts.answer.find(delimiter), 0) if delimiter else 0
    return f"{parts.thinking}\n\n{parts.answer[conclusion:]}".strip()


def _by_question(
    completions: Iterable[Completion], wanted: Callable[[Completion], bool]
) -> Mapping[str, list[Completion]]:
    found: dict[str, list[Completion]] = {}
    for completion in completions:
        written = split_reasoning(completion.text)
        if wanted(completion) and not is_null(completion) and written.closed and written.answer.strip():
            found.setdefault(completion.qid, []).append(completion)
    return found


def _chosen(candidates: Sequence[Completion], seed: int, task: str, qid: str) -> Completion | None:
    """A candidate, uniformly over seeds. It depends on no other question, and stays while it is a candidate."""
    return min(
        candidates,
        key=lambda completion: draw_key(seed, task, qid, completion.sampler, completion.sample_index),
        default=None,
    )


def _row(mistake: Mistake, task: str, written: Completion, prompt: str, target: str) -> TrainingRow:
    return TrainingRow(
        qid=mistake.qid, source=task, sample_index=0, completion_id=written.completion_id, prompt=prompt, target=target
    )
