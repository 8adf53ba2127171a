"""Rows that no model made: what a constant answer would score, which a trained student must beat to show anything."""

from collections import Counter
from collections.abc import Mapping, Sequence

from distillery.evaluation.intervals import wilson
from distillery.evaluation.parts import score_parts
from distillery.evaluation.table_records import Cell, Row, printed, printed_span
from distillery.records import Question

MAJORITY = "majority-answer"
"""Name in the column `recipe`."""


def majority_row(
    cell: Cell, train: Sequence[Question], questions: Sequence[Question], parts: Mapping[str, Sequence[str]]
) -> Row:
    """The row of the answer that most train questions have, given to every question of the table.

    Answers are compared as they are written. Of answers that are equally frequent the first in sorted order counts.

    Args:
        cell: Any cell of the task, for its names.
        parts: See `parts_of`.
    """
    counted = Counter(question.gold for question in train)
    answer = min(counted, key=lambda gold: (-counted[gold], gold))
    right = {question.qid: question.gold == answer for question in questions}
    hits = sum(right.values())
    return Row(
        task=cell.task,
        task_title=cell.task_title,
        recipe=MAJORITY,
        arm_title="Majority answer",
        arm=f"Majority answer ({answer})",
        swept={},
        model="",
        seeds=(),
        questions=len(right),
        accuracy=printed(100 * hits / len(right)),
        interval=printed_span(wilson(hits, len(right))),
        others={},
        unparsable=0.0,
        truncated=0.0,
        raised=None,
        rounds=(),
        training_rows=None,
        samples_used=None,
        updates=None,
        train_seconds=None,
        device=None,
        published=None,
        published_source=None,
        difference=None,
        difference_interval=None,
        predictions=(),
        examples=(),
        parts=score_parts([right], parts),
    )
