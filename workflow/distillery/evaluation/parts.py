"""Parts of the questions: accuracy on those with some values of a field of `meta`, such as unseen wordings.

An experiment names the parts (`parts: {wording: {seen: [0, 1], unseen: [3]}}`); without names (`parts: {steps: {}}`)
each value of the field is a part. A question without the field belongs to no part of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from distillery.errors import UserError
from distillery.evaluation.intervals import pooled_interval, wilson
from distillery.evaluation.table_records import PartScore, printed, printed_span
from distillery.records import Question


def parts_of(questions: Iterable[Question], parts: Mapping[str, Mapping[str, Sequence[Any]]]) -> dict[str, list[str]]:
    """Title of each part, as `wording: seen` -> qids of its questions, sorted.

    Raises:
        UserError: No question has the field, or a named part has no question.
    """
    known = sorted(questions, key=Question.sort_key)
    found: dict[str, list[str]] = {}
    for field, named in parts.items():
        values = {question.qid: question.meta[field] for question in known if field in question.meta}
        if not values:
            fields = sorted({name for question in known for name in question.meta})
            raise UserError(
                "no question has this field in its `meta`", key="parts", value=field, remedy=f"Known: {fields}"
            )
        each = sorted(set(values.values()), key=lambda value: (str(type(value)), value))
        groups = named or {str(value): [value] for value in each}
        for name, wanted in groups.items():
            chosen = [qid for qid, value in values.items() if value in wanted]
            if not chosen:
                raise UserError(
                    f"part `{name}` has no question",
                    key=f"parts.{field}.{name}",
                    value=list(wanted),
                    remedy=f"Values of the field: {each}",
                )
            found[f"{field}: {name}"] = chosen
    return found


def score_parts(runs: Sequence[Mapping[str, bool]], parts: Mapping[str, Sequence[str]]) -> dict[str, PartScore]:
    """Accuracy on each part, pooled over the seeds' runs (qid -> right) like that of a row."""
    scores = {}
    for title, qids in parts.items():
        answers = [[run[qid] for qid in qids] for run in runs]
        right = sum(map(sum, answers))
        interval = wilson(right, len(qids)) if len(runs) == 1 else pooled_interval(answers)
        scores[title] = PartScore(len(qids), printed(100 * right / (len(qids) * len(runs))), printed_span(interval))
    return scores
