"""Gold answers against their own graders: a task whose gold cannot be right is refused before the first request.

This lies apart from the questions themselves, so that a change in the grading code makes this check and verification
stale, but neither questions nor completions.
"""

from collections.abc import Iterable, Mapping, Sequence

from distillery.config.task import Task
from distillery.errors import UserError
from distillery.records import Outcome, Question
from distillery.tasks.questions import raise_all
from distillery.tasks.sources import task_file
from distillery.verification.graders import GRADERS, gold_answer, grade, graders_of


def check_gold(task: Task, questions: Sequence[Question], exemplars: Sequence[Mapping[str, str]]) -> None:
    """Every gold answer, written after its rationale as a student is to write it, must be right for every grader.

    Raises:
        UserError: Some are not, with the question, the grader and what it reads.
    """
    faults: list[UserError] = []
    cases = [(question.qid, "gold", question.rationale or "", question.gold) for question in questions]
    cases += [(f"exemplar {n}", "exemplars", shown["rationale"], shown["gold"]) for n, shown in enumerate(exemplars)]
    graders = graders_of(task)
    for who, key, rationale, gold in cases:
        for name, grader in graders.items():
            try:
                gold_answer(gold, grader)
                found = grade(f"{rationale} --> {gold}", None, "stop", gold, grader, "-->")
                problem = f"reads {found.answer!r}" if found.outcome != Outcome.RIGHT else None
            except ValueError as error:
                problem = f"cannot use it ({error})"
            if problem:
                faults.append(
                    UserError(
                        f"the gold answer of {who} does not pass its own grader: `{name}` {problem}",
                        file=task_file(task),
                        key=key,
                        value=gold,
                        remedy=f"Correct the gold template, the answer type, or graders.{name}",
                    )
                )
    raise_all(faults)


def random_guess(task: Task, questions: Iterable[Question]) -> float | None:
    """Expected accuracy of guessing; None for a kind of answer of which nobody can tell."""
    return GRADERS[task.answer].guess([question.question for question in questions], graders_of(task)["robust"])
