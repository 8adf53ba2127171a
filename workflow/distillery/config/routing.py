"""Routing: who reviews whom, as a committee's file says it.

Nobody reviews itself. Models of one family do not review each other either, unless the pair is allowed by name: judges
prefer text of their own family (arXiv 2404.13076). The order of the reviewers is the order in which they are given.

>>> routes({"gpt": "gpt", "gemini": "gemini", "mistral": "mistral"})["gemini"]
('gpt', 'mistral')
"""

from collections.abc import Iterable, Mapping

from distillery.errors import UserError, UserErrors


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
