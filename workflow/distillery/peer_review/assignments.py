"""Assignments: which reviewer scores which rationale.

Who may review whom is decided before any model is loaded, in `distillery.config.committee_checks`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from distillery.errors import UserError
from distillery.peer_review.records import Taught, TaughtVerdict, is_null
from distillery.records import Completion, Outcome, read_records


class Assignment(NamedTuple):
    """One rationale that one reviewer has to score."""

    qid: str
    author: str
    reviewer: str
    rationale: Completion


def assignments(
    rationales: Iterable[Completion],
    routing: Mapping[str, Sequence[str]],
    passed: Collection[tuple[str, str]] | None = None,
) -> tuple[list[Assignment], dict[str, int]]:
    """Every review to be done, in a stable order, and counts.

    Args:
        rationales: Completions whose `sampler` is the author.
        routing: Author -> reviewers, as `routes` gives it.
        passed: (question, completion) ids of the rationales that pass the answer check before the reviews; None: all.

    Returns:
        Assignments by question, author (in the order of `routing`), sample and reviewer; and counts: `rationales` is
        `reviewed` + `null` + `stopped` (by the answer check). An empty rationale is never reviewed.

    Raises:
        UserError: An author has no route.
    """
    counts = Counter({"rationales": 0, "reviewed": 0, "null": 0, "stopped": 0, "reviews": 0})
    place = {author: number for number, author in enumerate(routing)}
    todo = []
    given = list(rationales)
    for rationale in given:
        if rationale.sampler not in place:
            raise UserError(
                "a rationale of an author who is not on the committee",
                key="sampler",
                value=rationale.sampler,
                remedy=f"The committee has {', '.join(place)}",
            )
    for rationale in sorted(
        given, key=lambda rationale: (rationale.qid, place[rationale.sampler], rationale.sample_index)
    ):
        counts["rationales"] += 1
        if is_null(rationale):
            counts["null"] += 1
            continue
        if passed is not None and (rationale.qid, rationale.completion_id) not in passed:
            counts["stopped"] += 1
            continue
        counts["reviewed"] += 1
        todo += [
            Assignment(rationale.qid, rationale.sampler, reviewer, rationale) for reviewer in routing[rationale.sampler]
        ]
    counts["reviews"] = len(todo)
    return todo, dict(counts)


def read_assignments(
    rationales: Iterable[Path],
    routing: Mapping[str, Sequence[str]],
    verdicts: Path | None = None,
    grader: str = "robust",
) -> tuple[list[Assignment], dict[str, int]]:
    """`assignments` of the rationales in these files.

    Args:
        verdicts: Answer checks of the rationales, if only rationales with a right answer are reviewed.
        grader: Whose verdicts count.
    """
    passed = None if verdicts is None else passed_in(verdicts, grader)
    return assignments((rationale for path in rationales for rationale in read_records(path, Taught)), routing, passed)


def passed_in(verdicts: Path, grader: str) -> set[tuple[str, str]]:
    """(question, completion) ids of the rationales whose final answer a grader finds right."""
    return {
        (verdict.qid, verdict.completion_id)
        for verdict in read_records(verdicts, TaughtVerdict)
        if verdict.grader == grader and verdict.outcome == Outcome.RIGHT
    }
