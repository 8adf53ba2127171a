"""Scoring: each prediction of a test question gets every grader's verdict, and the verdicts are counted.

Predictions and questions are joined by `qid`, never by position: a test set that lost or gained a question between
prediction and scoring is refused, since an accuracy over the rest would look like one over the whole.

The summary of one run is one JSON object:

    asked                    test questions
    mean_completion_tokens   tokens that the student wrote per question
    truncated_percent        completions that hit the token limit, whatever their verdict
    graders.<name>           asked = right + wrong + unparsable + truncated + refused + failed;
                             accuracy (percent) and interval (95 %, Wilson, percent)
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

from distillery.answers import grade
from distillery.config.task import Grader
from distillery.errors import UserError
from distillery.intervals import wilson
from distillery.records import Completion, GradedPrediction, Outcome, Question

T = TypeVar("T", Completion, Question)

REMEDY = "Delete the predictions file and run the workflow again; it is made anew from the questions"

# Summaries keep more digits than tables print, and fewer than differ between machines.
DIGITS = 4


def score(
    predictions: Iterable[Completion],
    questions: Iterable[Question],
    graders: Mapping[str, Grader],
    delimiter: str | None,
) -> tuple[list[GradedPrediction], dict]:
    """Judge one completion per test question under every grader; return them sorted by `qid`, and their summary.

    Args:
        predictions: Exactly one completion of each question, in any order.
        questions: The test questions with their gold answers, in any order.
        graders: Name -> how a final answer is found and compared. At least one.
        delimiter: What the prompt asks for before the final answer (`-->`); None if it asks for nothing.

    Raises:
        UserError: A question has no prediction or two, or a prediction belongs to no question; the message names it.
        ValueError: There is no grader.
    """
    if not graders:
        raise ValueError("no grader to score with")
    asked = _by_qid(questions, "question")
    answered = _by_qid(predictions, "prediction")
    _refuse_unmatched(asked.keys() - answered.keys(), "test question without a prediction")
    _refuse_unmatched(answered.keys() - asked.keys(), "prediction of a question that is not in the test split")
    if not asked:
        raise UserError("the test split has no question", remedy="Raise sizes.test of the task")
    graded = [_judge(answered[qid], asked[qid], graders, delimiter) for qid in sorted(asked)]
    return graded, summarise(graded, list(graders))


def summarise(graded: list[GradedPrediction], graders: list[str]) -> dict:
    """Count the verdicts of one run; see the module for the keys.

    Raises:
        ValueError: `graded` is empty, or the six outcomes of a grader do not add up to the questions asked.
    """
    asked = len(graded)
    if not asked:
        raise ValueError("no predictions to summarise")
    cut_off = sum(prediction.finish_reason == "length" for prediction in graded)
    return {
        "asked": asked,
        "mean_completion_tokens": round(sum(prediction.completion_tokens for prediction in graded) / asked, DIGITS),
        "truncated_percent": round(100 * cut_off / asked, DIGITS),
        "graders": {name: _counts(name, graded) for name in sorted(graders)},
    }


def _counts(grader: str, graded: list[GradedPrediction]) -> dict:
    counted = Counter(prediction.outcomes.get(grader) for prediction in graded)
    counts = {outcome.value: counted[outcome] for outcome in Outcome}
    if sum(counts.values()) != len(graded):
        raise ValueError(f"grader {grader}: {counts} do not add up to {len(graded)} questions")
    right = counts[Outcome.RIGHT.value]
    return {
        "asked": len(graded),
        **counts,
        "accuracy": round(100 * right / len(graded), DIGITS),
        "interval": [round(end, DIGITS) for end in wilson(right, len(graded))],
    }


def _judge(
    prediction: Completion, question: Question, graders: Mapping[str, Grader], delimiter: str | None
) -> GradedPrediction:
    verdicts = {
        name: grade(prediction.text, prediction.answer_text, prediction.finish_reason, question.gold, grader, delimiter)
        for name, grader in graders.items()
    }
    return GradedPrediction(
        qid=question.qid,
        question=question.question,
        gold=question.gold,
        text=prediction.text,
        answer_text=prediction.answer_text,
        finish_reason=prediction.finish_reason,
        completion_tokens=prediction.completion_tokens,
        outcomes={name: verdict.outcome for name, verdict in verdicts.items()},
        answers={name: verdict.answer for name, verdict in verdicts.items()},
    )


def _by_qid(records: Iterable[T], kind: str) -> dict[str, T]:
    found: dict[str, T] = {}
    for record in records:
        if record.qid in found:
            raise UserError(f"two {kind} records for one question", key=f"qid {record.qid}", remedy=REMEDY)
        found[record.qid] = record
    return found


def _refuse_unmatched(qids: set[str], problem: str) -> None:
    if qids:
        first, others = min(qids), len(qids) - 1
        more = f" ({others} more like it)" if others else ""
        raise UserError(problem + more, key=f"qid {first}", remedy=REMEDY)
