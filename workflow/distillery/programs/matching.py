"""Matching: is what a program gave the gold answer? Two rules, side by side, and the counters of a filter.

    rule     number tasks                                         string tasks (choice, yes-no, letters, text)
    paper    one line on stdout, round(float(line)) == int(gold)  one line on stdout, equal to gold
    strict   an int or a float, |value - gold| <= 1e-6            a str, equal to gold but for case and outer space

`paper` is the released code's rule: 12.4 passes for 12, -0.5 for 0, and the string "12" for 12, while a correct
value is lost with any extra line. For string tasks that code has no working rule, so `paper` compares the line.

>>> from distillery.programs.execution import Execution, RunOutcome
>>> judge(Execution(RunOutcome.OK, kind="float", value="12.4", stdout_lines=1, last_stdout="12.4"), "12", "number")
{'paper': True, 'strict': False}

Source: PaD specification, section 1.4. Gold answers are compared here and nowhere nearer to the program.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from distillery.errors import UserError
from distillery.programs.execution import Execution, RunOutcome

ABSOLUTE = Decimal("1e-6")
RELATIVE = Decimal("1e-4")
"""Relative tolerance, for gold answers that are no integers: with it 70,003 would pass for 70,000."""

KINDS_OF = {"number": ("int", "float")}
"""Kinds of value that an answer type accepts; a string for every other type."""


def judge(execution: Execution, gold: str, answer_type: str) -> dict[str, bool]:
    """Whether the run's result is `gold`, by rule. Pure; a program that gave nothing is right by none.

    Args:
        execution: What came of the run.
        gold: The gold answer as the task gives it; numbers may part thousands by commas.
        answer_type: `number`, `choice`, `yes-no`, `letters` or `text`, as in a task file.

    Raises:
        UserError: `gold` is no number in a number task: a fault of the data, not of the model.
    """
    if answer_type == "number":
        wanted = _gold_number(gold)
        return {"paper": _paper_number(execution, gold), "strict": _strict_number(execution, wanted)}
    ran = execution.outcome in (RunOutcome.OK, RunOutcome.WRONG_TYPE)
    line = execution.last_stdout if ran else None
    value = execution.value if ran and execution.kind == "str" else None
    return {
        "paper": line is not None and line == gold,
        "strict": value is not None and value.strip().casefold() == gold.strip().casefold(),
    }


def typed_outcome(execution: Execution, answer_type: str) -> RunOutcome:
    """The outcome under a task's answer type: a value of a kind that it does not accept is `wrong_type`."""
    if execution.outcome == RunOutcome.OK and execution.kind not in KINDS_OF.get(answer_type, ("str",)):
        return RunOutcome.WRONG_TYPE
    return execution.outcome


def _gold_number(gold: str) -> Decimal:
    try:
        number = Decimal(gold.replace(",", "").strip())
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise UserError("the gold answer is no number", key="gold", value=gold, remedy="Mend the data of the task")
    return number


def _paper_number(execution: Execution, gold: str) -> bool:
    if execution.outcome not in (RunOutcome.OK, RunOutcome.WRONG_TYPE) or execution.last_stdout is None:
        return False
    try:
        wanted = int(gold.replace(",", ""))  # "12.5" raises, as in the released code: such a question keeps nothing
        return round(float(execution.last_stdout)) == wanted  # round is half to even; of nan and inf it raises
    except (ValueError, OverflowError):
        return False


def _strict_number(execution: Execution, gold: Decimal) -> bool:
    if typed_outcome(execution, "number") != RunOutcome.OK or execution.value is None:
        return False
    value = Decimal(execution.value)
    if not value.is_finite() or (execution.kind == "float" and not math.isfinite(float(value))):
        return False
    difference = abs(value - gold)
    if gold == gold.to_integral_value():
        return difference <= ABSOLUTE
    return difference <= max(ABSOLUTE, RELATIVE * abs(gold))


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of every completion asked for; the last six add up to the first."""

    asked: int
    refused: int
    """The teacher wrote no program and said so."""
    unparsable: int
    """There is not exactly one program, or it does not parse."""
    rejected: int
    """The gate turned the program away."""
    failed: int
    """The run gave no value: exception, time, memory, output, killed, or a fault of the sandbox."""
    wrong: int
    """It gave a value, of whatever type, that is not the gold answer under the rule."""
    kept: int
    sandbox_faults: int
    """How many of `failed` are the sandbox's fault: a filter with more than a few must not be used."""


def stage(problem: str | None, execution: Execution | None, right: bool) -> str:
    """Which counter a completion belongs to, given the problem of its extraction, its run, and its judgement."""
    if problem is not None or execution is None:
        return "refused" if problem == "refused" else "unparsable"
    if execution.outcome == RunOutcome.SYNTAX:
        return "unparsable"
    if execution.outcome == RunOutcome.REJECTED:
        return "rejected"
    if execution.outcome not in (RunOutcome.OK, RunOutcome.WRONG_TYPE):
        return "failed"
    return "kept" if right else "wrong"


def count(rows: Iterable[tuple[str | None, Execution | None, bool]]) -> Counts:
    """The counters of a filter, over (problem, execution, right) of every completion."""
    stages: Counter[str] = Counter()
    faults = 0
    for problem, execution, right in rows:
        stages[stage(problem, execution, right)] += 1
        faults += execution is not None and execution.outcome == RunOutcome.SANDBOX_ERROR
    names = ("refused", "unparsable", "rejected", "failed", "wrong", "kept")
    return Counts(asked=stages.total(), sandbox_faults=faults, **{name: stages[name] for name in names})
