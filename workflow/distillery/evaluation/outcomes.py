"""Outcomes in percent: which outcomes a column of a table counts together, and their share of the questions.

Tables and studies read the counts that `distillery.evaluation.score` has made. They need none of its graders, so that a
change in a grader makes scores stale, and a table only if its scores change.
"""

from collections.abc import Iterable, Mapping

from distillery.records import Outcome

NO_ANSWER = (Outcome.UNPARSABLE,)
"""Outcomes without a final answer that the grader could find."""

NOT_RUN = (Outcome.RAISED, Outcome.REJECTED)
"""Outcomes of programs that did not run to a value; a rejected program was not allowed to run."""

RAN = (Outcome.RIGHT, Outcome.WRONG)
"""Outcomes of programs that ran to a value."""


def percent_of(counts: Mapping[str, int], outcomes: Iterable[Outcome]) -> float:
    """The percentage of the questions that have one of these outcomes, from the counts of a grader.

    >>> percent_of({"asked": 8, "raised": 1, "rejected": 1}, NOT_RUN)
    25.0
    """
    return 100 * sum(counts[outcome.value] for outcome in outcomes) / counts["asked"]
