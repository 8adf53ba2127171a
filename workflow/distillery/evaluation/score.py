"""Scoring: each prediction of a test question gets every grader's verdict, and the verdicts are counted.

Predictions and questions are joined by `qid`, never by position: a test set that lost or gained a question between
prediction and scoring is refused, since an accuracy over a part would look like the accuracy over the whole.

The summary of one run is one JSON object:

    asked                    test questions
    mean_completion_tokens   tokens that the student wrote per question
    programs                 whether completions are programs, which were run
    rounds.<name>            accuracy after 0, 1, ... rounds of self-refinement, where there were any
    truncated_percent        completions that hit the token limit, with any verdict
    graders.<name>           asked = right + wrong + unparsable + truncated + refused + failed + rejected + raised;
                             accuracy (percent) and interval (95 %, Wilson, percent)
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

from distillery.config.task import Grader
from distillery.errors import UserError
from distillery.evaluation.intervals import wilson
from distillery.records import Completion, Draft, GradedPrediction, Outcome, Question
from distillery.verification.graders import Graded
from distillery.verification.judge import Reading, judge

T = TypeVar("T", Completion, Question)

REMEDY = "Delete the predictions file and run the workflow again; which makes it again from the questions"

# Summaries keep more digits than tables print, and fewer than differ between machines.
DIGITS = 4


def score(
    predictions: Iterable[Completion],
    questions: Iterable[Question],
    graders: Mapping[str, Grader],
    reading: Reading,
) -> tuple[list[GradedPrediction], dict, dict]:
    """Judge one completion per test question under every grader; return them sorted by `qid`, their summary, and
    the cost of judging.

    Args:
        predictions: Exactly one completion of each question, in any order.
        questions: The test questions with their gold answers, in any order.
        graders: Name -> how a final answer is found and compared. At least one.
        reading: How completions of the student's prompt are read.

    Raises:
        UserError: A question has no prediction or two, or a prediction belongs to no question; the message names it.
        ValueError: There is no grader.
    """
    if not graders:
        raise ValueError("no grader to score with")
    by_qid = _by_qid(questions, "question")
    answered = _by_qid(predictions, "prediction")
    _refuse_unmatched(by_qid.keys() - answered.keys(), "test question without a prediction")
    _refuse_unmatched(answered.keys() - by_qid.keys(), "prediction of a question that is not in the test split")
    if not by_qid:
        raise UserError("the test split has no question", remedy="Raise sizes.test of the task")
    order = sorted(by_qid)
    gold = {qid: question.gold for qid, question in by_qid.items()}
    judged = judge([answered[qid] for qid in order], gold, graders, reading)
    graded = [
        _graded(answered[qid], by_qid[qid], verdicts) for qid, verdicts in zip(order, judged.verdicts, strict=True)
    ]
    summary = summarise(graded, reading.graders(graders))
    return graded, {**summary, "programs": reading.form == "program"}, judged.work


def score_rounds(
    drafts: Iterable[Draft], questions: Iterable[Question], graders: Mapping[str, Grader], reading: Reading
) -> dict[str, list[float]]:
    """Accuracy in percent after 0, 1, ... rounds of self-refinement, by grader.

    Source: PaD specification, section 3.3.
    """
    gold = {question.qid: question.gold for question in questions}
    versions: dict[str, dict[int, Draft]] = {qid: {} for qid in gold}
    for draft in drafts:
        versions[draft.qid][draft.round] = draft
    flat = [draft for by_round in versions.values() for draft in by_round.values()]
    as_completions = [
        Completion(
            completion_id=draft.completion_id,
            qid=draft.qid,
            sampler="draft",
            sample_index=draft.round,
            text=draft.text,
            finish_reason="stop",
            prompt_tokens=0,
            completion_tokens=0,
        )
        for draft in flat
    ]
    judged = judge(as_completions, gold, graders, reading).verdicts
    outcome = {(draft.qid, draft.round): verdicts for draft, verdicts in zip(flat, judged, strict=True)}
    last_round = max((draft.round for draft in flat), default=0)
    accuracy: dict[str, list[float]] = {}
    for name in reading.graders(graders):
        accuracy[name] = []
        for number in range(last_round + 1):
            right = 0
            for qid, by_round in versions.items():
                at = max(round_ for round_ in by_round if round_ <= number)
                right += outcome[qid, at][name].outcome == Outcome.RIGHT
            accuracy[name].append(round(100 * right / len(gold), DIGITS))
    return accuracy


def summarise(graded: list[GradedPrediction], graders: list[str]) -> dict:
    """Count the verdicts of one run; see the module for the keys.

    Raises:
        ValueError: `graded` is empty, or the outcomes of a grader do not add up to the number of questions.
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


def _graded(prediction: Completion, question: Question, verdicts: Mapping[str, Graded]) -> GradedPrediction:
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
