"""`from: gold`: the questions with their own worked solutions and answers; no model takes part."""

from collections import Counter

from distillery.config.extensions import RowSource
from distillery.records import Question, TrainingRow
from distillery.tasks.prompts import Renderer
from distillery.training.sources.common import SourceInputs


def rows(given: SourceInputs) -> tuple[list[TrainingRow], Counter[str]]:
    """One row of each question."""
    return [_row(question, given.name, given.student) for question in given.questions], Counter()


def _row(question: Question, source: str, student: Renderer) -> TrainingRow:
    return TrainingRow(
        qid=question.qid,
        source=source,
        sample_index=0,
        completion_id=None,
        prompt=student.input(question.question),
        target=student.target(question.rationale or "", question.gold, question.question),
    )


SOURCE = RowSource(rows)
