"""Routing: what there is to review, and by whom.

Who may review whom is settled before anything is asked, in `distillery.config.routing`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from distillery.errors import UserError
from distillery.records import Completion
from distillery.review.records import is_null


class Assignment(NamedTuple):
    """One rationale that one reviewer has to score."""

    qid: str
    author: str
    reviewer: str
    rationale: Completion


def assignments(
    rationales: Iterable[Completion], routing: Mapping[str, Sequence[str]]
) -> tuple[list[Assignment], dict[str, int]]:
    """Every review to be done, in a stable order, and how many rationales need none.

    Args:
        rationales: Completions whose `sampler` is the author.
        routing: Author -> reviewers, as `routes` gives it.

    Returns:
        Assignments by question, author (in the routing's order), sample and reviewer; and counts: `rationales` is
        `reviewed` + `null`. A null rationale is never reviewed.

    Raises:
        UserError: An author has no route.
    """
    counts = Counter({"rationales": 0, "reviewed": 0, "null": 0, "reviews": 0})
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
        counts["reviewed"] += 1
        todo += [Assignment(one.qid, one.sampler, reviewer, one) for reviewer in routing[one.sampler]]
    counts["reviews"] = len(todo)
    return todo, dict(counts)
