"""Which of the student's answers to train questions are mistakes, and why the others are not.

    asked = right + mistakes (wrong + unparsable) + not used (by reason)

A mistake is an answer that the grader does not find right. Texts without a final answer are counted apart, since they
are often not errors of reasoning: 278 of the 825 released StrategyQA mistakes are parse failures.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from distillery.config.review import StudentAnswers
from distillery.errors import UserError
from distillery.hashing import draw_key
from distillery.peer_review.records import Mistake, MistakeKind
from distillery.records import Completion, Outcome, Question, Verdict
from distillery.tasks.reasoning import split_reasoning

SALT = "exam"
"""Part of the random choice under `limit`: another word would choose other mistakes."""


def find_mistakes(
    questions: Iterable[Question],
    completions: Iterable[Completion],
    verdicts: Iterable[Verdict],
    student_answers: StudentAnswers,
) -> tuple[list[Mistake], dict[str, Any]]:
    """The mistakes among the student's answers, and how every completion was counted.

    Args:
        questions: Of the train split only: a mistake on a test question would leak its gold answer into training.
        completions: One of each question.
        verdicts: Of the grader of `student_answers`, and of any others.
        student_answers: Section of the committee.

    Returns:
        Mistakes by question id; and a summary whose `asked` is `right` + `mistakes` + the sum of `not_used`.

    Raises:
        UserError: A completion belongs to no question, a question has two, or there is no verdict of the grader.

    Source: MAPD (arXiv 2410.03663); public code, infer_student_wrong.py.
    """
    by_qid = {question.qid: question for question in questions}
    judged = {verdict.completion_id: verdict for verdict in verdicts if verdict.grader == student_answers.grader}
    mistakes: dict[str, Mistake] = {}
    seen: set[str] = set()
    not_used: Counter[str] = Counter()
    right = 0
    for completion in completions:
        _check(completion, by_qid, judged, seen, student_answers.grader)
        seen.add(completion.qid)
        verdict = judged[completion.completion_id]
        if verdict.outcome == Outcome.RIGHT:
            right += 1
            continue
        reason = _not_used(verdict, student_answers)
        if reason is not None:
            not_used[reason] += 1
            continue
        question = by_qid[completion.qid]
        kind: MistakeKind = "unparsable" if verdict.answer is None else "wrong"
        mistakes[completion.qid] = Mistake(
            qid=completion.qid,
            question=question.question,
            gold=question.gold,
            text=cut_at_answer(completion.text, verdict.answer) if student_answers.cut == "answer" else completion.text,
            answer=verdict.answer,
            kind=kind,
            completion_id=completion.completion_id,
        )
    if student_answers.limit is not None and len(mistakes) > student_answers.limit:
        kept = sorted(mistakes, key=lambda qid: draw_key(student_answers.seed, SALT, qid))[: student_answers.limit]
        not_used["over the limit"] = len(mistakes) - len(kept)
        mistakes = {qid: mistakes[qid] for qid in kept}
    found = [mistakes[qid] for qid in sorted(mistakes)]
    kinds = Counter(mistake.kind for mistake in found)
    return found, {
        "asked": len(seen),
        "right": right,
        "mistakes": len(found),
        "kinds": {"wrong": kinds["wrong"], "unparsable": kinds["unparsable"]},
        "not_used": dict(sorted(not_used.items())),
        "not_asked": len(by_qid) - len(seen),
    }


def cut_at_answer(text: str, answer: str | None) -> str:
    """The text up to and with the first occurrence of `answer`, as the public code stores mistakes; whole without one.

    The student may have concluded later: an early "2" cuts everything behind it.

    >>> cut_at_answer("2 groups of 4 are 8, so 2 are left.", "2")
    '2'
    >>> cut_at_answer("<think>2 or 3</think>It is 2.", "2")
    '<think>2 or 3</think>It is 2'
    """
    written = split_reasoning(text)  # the answer of a student that thinks is not in its thinking
    start = max(text.rfind(written.answer), 0) if written.thinking else 0
    place = text.find(answer, start) if answer else -1
    return text if place < 0 or not answer else text[: place + len(answer)]


def _not_used(verdict: Verdict, student_answers: StudentAnswers) -> str | None:
    match verdict.outcome:
        case Outcome.REFUSED | Outcome.FAILED:  # there is no text to give feedback on
            return verdict.outcome.value
        case Outcome.TRUNCATED if student_answers.truncated == "drop":
            return "truncated"
        case Outcome.UNPARSABLE | Outcome.REJECTED | Outcome.RAISED if (
            student_answers.unparsable == "drop"
        ):  # no answer to point at
            return verdict.outcome.value
    return None


def _check(
    completion: Completion, questions: dict[str, Question], judged: dict[str, Verdict], seen: set[str], grader: str
) -> None:
    problem, remedy = None, "Run the workflow again, so that questions, completions and verdicts are of one version"
    if completion.qid not in questions:
        problem = "an answer of the student belongs to no train question"
    elif completion.qid in seen:
        problem, remedy = "the student has two answers to one question", "Set `samples: 1` in the sampler"
    elif completion.completion_id not in judged:
        problem = f"an answer of the student has no verdict of the grader {grader}"
    if problem is not None:
        raise UserError(problem, key="qid", value=completion.qid, remedy=remedy)
