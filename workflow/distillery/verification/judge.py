"""Judging: verdicts of every grader on completions, whether they are texts with an answer or programs to be run.

Texts are read by the task's graders (`distillery.verification.graders`). Programs are extracted, run in the sandbox,
and what they return is compared here, outside of it. The two graders of a program have the names of a text's, so that
both fit in one table: `paper` rounds to a whole number as the released code does, `robust` compares value and type.

No text of a model may end the job, as it is in the store and would end it again on every run. Whatever reading a text
raises that nobody foresaw becomes the outcome `unparsable` with the reason `UNFORESEEN`, and is counted and logged.

Source: Fine-tune-CoT, released evaluator; PaD specification, sections 1.3 and 1.4.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from distillery.config.task import Grader
from distillery.errors import UserError
from distillery.records import Completion, Outcome
from distillery.verification.graders import Graded, gold_answer, grade

LOG = logging.getLogger(__name__)

PROGRAM_GRADERS = {"paper": "paper", "robust": "strict"}
"""Name in tables -> rule of `distillery.programs.matching`."""

UNFORESEEN = "unreadable"
"""How the reason of a text begins that could not be read because of a fault of ours."""


class Reading(BaseModel):
    """How the completions of one prompt on one task are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    form: Literal["text", "program"] = "text"
    delimiter: str | None = None
    answer: str = "number"
    """Answer type of the task: what a program may return."""

    def graders(self, declared: Mapping[str, Grader]) -> list[str]:
        """Names of the graders that judge."""
        return list(declared) if self.form == "text" else list(PROGRAM_GRADERS)


@dataclass
class Judged:
    """Verdicts on completions, in their order: grader -> judgement. `work` says how many programs ran, and where."""

    verdicts: list[dict[str, Graded]]
    work: dict[str, Any] = field(default_factory=dict)


def judge(
    completions: Sequence[Completion], gold: Mapping[str, str], graders: Mapping[str, Grader], reading: Reading
) -> Judged:
    """Judge completions.

    Args:
        gold: qid -> gold answer.

    Raises:
        UserError: No sandbox works here, or the sandbox itself failed: that is our fault, not the program's.
        ValueError: A gold answer is no answer under a grader: a fault of the data, which `check_task` names.
    """
    if reading.form == "program":
        return _programs(completions, gold, reading.answer)
    for answer in {gold[completion.qid] for completion in completions}:
        for grader in graders.values():
            gold_answer(answer, grader)
    return Judged(
        [
            {
                name: _read(
                    completion,
                    grade,
                    *(completion.text, completion.answer_text, completion.finish_reason, gold[completion.qid]),
                    *(grader, reading.delimiter),
                )
                for name, grader in graders.items()
            }
            for completion in completions
        ]
    )


def _read(completion: Completion, judgement: Callable[..., Graded], *given: Any) -> Graded:
    """The judgement on what is given, or `unparsable` where making it raised."""
    try:
        return judgement(*given)
    except UserError:  # the data's fault, which the user can mend
        raise
    except Exception as fault:
        LOG.warning("completion %s counts as unparsable: a fault of ours", completion.completion_id, exc_info=True)
        return Graded(Outcome.UNPARSABLE, None, f"{UNFORESEEN}: {type(fault).__name__}")


def _programs(completions: Sequence[Completion], gold: Mapping[str, str], answer: str) -> Judged:
    from distillery.programs.extract import extract
    from distillery.programs.run import run_programs

    found = [extract(completion.text) for completion in completions]
    runs, work = run_programs([extracted.program for extracted in found if extracted.program is not None])
    remaining = iter(runs)
    verdicts = []
    for completion, extracted in zip(completions, found, strict=True):
        if completion.finish_reason == "failed":
            verdicts.append({name: Graded(Outcome.FAILED, None, "sampling failed") for name in PROGRAM_GRADERS})
            if extracted.program is not None:
                next(remaining)
            continue
        if extracted.program is None:
            outcome = Outcome.REFUSED if extracted.problem == "refused" else Outcome.UNPARSABLE
            if outcome == Outcome.UNPARSABLE and completion.finish_reason == "length":
                outcome = Outcome.TRUNCATED
            verdicts.append({name: Graded(outcome, None, str(extracted.problem)) for name in PROGRAM_GRADERS})
            continue
        run = next(remaining)
        given = (run, gold[completion.qid], answer, completion.finish_reason == "length")
        verdicts.append({name: _read(completion, _graded, rule, *given) for name, rule in PROGRAM_GRADERS.items()})
    return Judged(verdicts, work)


def _graded(rule: str, run: Any, gold: str, answer: str, cut: bool) -> Graded:
    """The judgement on a program that was run, by a rule of `distillery.programs.matching`."""
    from distillery.programs.execution import RunOutcome
    from distillery.programs.matching import judge as match

    right = match(run, gold, answer)[rule]

    reason = run.traceback_line or run.label
    if run.outcome == RunOutcome.SYNTAX:
        return Graded(Outcome.TRUNCATED if cut else Outcome.UNPARSABLE, None, reason)
    if run.outcome == RunOutcome.REJECTED:
        return Graded(Outcome.REJECTED, None, run.label)
    if run.outcome in (RunOutcome.OK, RunOutcome.WRONG_TYPE):
        returned = f"returned {run.kind}" if run.outcome == RunOutcome.OK else run.label
        return Graded(Outcome.RIGHT if right else Outcome.WRONG, run.value, returned)
    return Graded(Outcome.RAISED, None, reason)
