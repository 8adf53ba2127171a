"""Routing: what there is to review, and by whom.

Who may review whom is settled before anything is asked, in `distillery.config.committee_checks`.
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
    """Every review to be done, in a stable order, and how many rationales need none.

    Args:
        rationales: Completions whose `sampler` is the author.
        routing: Author -> reviewers, as `routes` gives it.
        passed: (question, completion) ids of the rationales that an answer check in front lets through; None: all.

    Returns:
        Assignments by question, author (in the routing's order), sample and reviewer; and counts: `rationales` is
        `reviewed` + `null` + `stopped` (by the answer check). A null rationale is never reviewed.

    Raises:
        UserError: An author has no route.
    """
    counts = Counter({"rationales": 0, "reviewed": 0, "null": 0, "stopped": 0, "reviews": 0})
    place = {author: number for number, author in enumerate(routing)}
    todo = []
    given = list(rationales)
    for one in given:
        if one.sampler not in place:
            raise UserError(
                "a rationale of an author who is not on the panel",
                key="sampler",
                value=one.sampler,
                remedy=f"The routing has {', '.join(place)}",
            )
    for one in sorted(given, key=lambda one: (one.qid, place[one.sampler], one.sample_index)):
        counts["rationales"] += 1
        if is_null(one):
            counts["null"] += 1
            continue
        if passed is not None and (one.qid, one.completion_id) not in passed:
            counts["stopped"] += 1
            continue
        counts["reviewed"] += 1
        todo += [Assignment(one.qid, one.sampler, reviewer, one) for reviewer in routing[one.sampler]]
    counts["reviews"] = len(todo)
    return todo, dict(counts)


def read_assignments(
    rationales: Iterable[Path],
    routing: Mapping[str, Sequence[str]],
    verdicts: Path | None = None,
    grader: str = "robust",
) -> tuple[list[Assignment], dict[str, int]]:
    """The same, of rationales in files.

    Args:
        verdicts: Answer checks of them, where a gate stands in front of the reviews: only right ones pass.
        grader: Whose verdict that gate asks.
    """
    passed = None if verdicts is None else passed_in(verdicts, grader)
    return assignments((one for path in rationales for one in read_records(path, Taught)), routing, passed)


def passed_in(verdicts: Path, grader: str) -> set[tuple[str, str]]:
    """(question, completion) ids of the rationales whose final answer a grader finds right."""
    return {
        (one.qid, one.completion_id)
        for one in read_records(verdicts, TaughtVerdict)
        if one.grader == grader and one.outcome == Outcome.RIGHT
    }
