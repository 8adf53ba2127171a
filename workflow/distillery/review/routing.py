"""Routing: who reviews whom.

Nobody reviews itself. Models of one family do not review each other either, unless the pair is allowed by name: judges
prefer text of their own family (arXiv 2404.13076). The order of the reviewers is the order in which they are given.

>>> routes({"gpt": "gpt", "gemini": "gemini", "mistral": "mistral"})["gemini"]
('gpt', 'mistral')
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from distillery.errors import UserError, UserErrors
from distillery.records import Completion, Outcome, read_records
from distillery.review.records import Taught, TaughtVerdict, is_null


class Assignment(NamedTuple):
    """One rationale that one reviewer has to score."""

    qid: str
    author: str
    reviewer: str
    rationale: Completion


def routes(
    teachers: Mapping[str, str],
    *,
    reviewers: Mapping[str, str] | None = None,
    allow: Iterable[tuple[str, str]] = (),
    at_least: int = 2,
) -> dict[str, tuple[str, ...]]:
    """The reviewers of each teacher, before anything is asked.

    Args:
        teachers: Name -> family of those whose rationales are reviewed.
        reviewers: Name -> family of those who review; the teachers themselves if not given. People have a family of
            their own.
        allow: (reviewer, author) pairs of one family that may review nevertheless. A self-review is never allowed.
        at_least: Reviewers that every author needs; with two teachers each has one.

    Raises:
        UserErrors: Every author with too few reviewers, and every allowed pair that cannot be.

    Source: MAPD (arXiv 2410.03663): each rationale is scored by the other teachers. Families are ours.
    """
    panel = teachers if reviewers is None else reviewers
    allowed = list(allow)
    faults = [_wrong_pair(pair, teachers, panel) for pair in allowed]
    found = {
        author: tuple(
            reviewer
            for reviewer in panel
            if reviewer != author and (panel[reviewer] != family or (reviewer, author) in allowed)
        )
        for author, family in teachers.items()
    }
    for author, chosen in found.items():
        if len(chosen) < at_least:
            kin = [name for name in panel if name != author and name not in chosen]
            same = f"; {', '.join(kin)} are of its family ({teachers[author]})" if kin else ""
            faults.append(
                UserError(
                    f"{len(chosen)} may review it, and {at_least} are needed{same}",
                    key=f"reviewers of {author}",
                    value=list(chosen),
                    remedy="Add teachers of other families, allow a pair of one family by name, or ask for fewer",
                )
            )
    problems = [fault for fault in faults if fault is not None]
    if problems:
        raise UserErrors(problems)
    return found


def assignments(
    rationales: Iterable[Completion],
    routing: Mapping[str, Sequence[str]],
    passed: Collection[tuple[str, str]] | None = None,
) -> tuple[list[Assignment], dict[str, int]]:
    """Every review to be done, in a stable order, and how many rationales need none.

    Args:
        rationales: Completions whose `sampler` is the author.
        routing: As `routes` gives it.
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
    passed = None
    if verdicts is not None:
        passed = {
            (one.qid, one.completion_id)
            for one in read_records(verdicts, TaughtVerdict)
            if one.grader == grader and one.outcome == Outcome.RIGHT
        }
    return assignments((one for path in rationales for one in read_records(path, Taught)), routing, passed)


def _wrong_pair(pair: tuple[str, str], teachers: Mapping[str, str], panel: Mapping[str, str]) -> UserError | None:
    reviewer, author = pair
    if reviewer == author:
        problem, remedy = "nobody may review itself", "Remove the pair"
    elif reviewer not in panel or author not in teachers:
        problem = "no such reviewer or author"
        remedy = f"Reviewers are {', '.join(panel)}; authors are {', '.join(teachers)}"
    else:
        return None
    return UserError(problem, key="allow", value=f"{reviewer} reviews {author}", remedy=remedy)
