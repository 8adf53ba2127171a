"""Feedback: what to tell a model about its program, from what a user of the program would see.

>>> from distillery.programs.execution import Execution, RunOutcome
>>> needs_refinement(Execution(RunOutcome.WRONG_TYPE, kind="none", value="None"), "number")
'TypeError: solution() returned None, not a number'

No function here takes a gold answer: feedback that depends on it would tell the model whether it was right, and the
accuracy after refinement would be none that a user can have (PaD specification, section 3.3).
"""

from distillery.programs.execution import Execution, RunOutcome
from distillery.programs.matching import typed_outcome

_WANTED = {"number": "a number"}

_SAID = {
    RunOutcome.TIMEOUT_CPU: "TimeoutError: the program did not end",
    RunOutcome.TIMEOUT_WALL: "TimeoutError: the program did not end",
    RunOutcome.MEMORY: "MemoryError",
    RunOutcome.OUTPUT_LIMIT: "OverflowError: the program wrote too much",
    RunOutcome.KILLED: "RuntimeError: the program ended before it returned a value",
}


def needs_refinement(execution: Execution, answer_type: str) -> str | None:
    """Feedback in one line if the run failed visibly, None if its value can stand (right or wrong).

    Visible are: text that does not parse, an exception, too much time, memory or output, a refusal by the gate, and a
    value of a kind that the question cannot have, or that is no number at all (nan, inf).
    """
    outcome = typed_outcome(execution, answer_type)
    if outcome == RunOutcome.SANDBOX_ERROR:  # not the program's mistake: nothing to say about it
        return None
    if outcome in _SAID:
        return _SAID[outcome]
    if outcome == RunOutcome.REJECTED:
        return f"PermissionError: the program may not be run, rule {execution.detail!r}"
    if outcome in (RunOutcome.SYNTAX, RunOutcome.EXCEPTION):
        return execution.traceback_line or "Exception"
    wanted = _WANTED.get(answer_type, "a string")
    if outcome == RunOutcome.WRONG_TYPE:
        shown = execution.value if execution.kind in ("bool", "none") else _TYPES.get(str(execution.kind), "an object")
        return f"TypeError: solution() returned {shown}, not {wanted}"
    if execution.kind == "float" and execution.value in ("nan", "inf", "-inf"):
        return f"ValueError: solution() returned {execution.value}, not {wanted}"
    return None


_TYPES = {"int": "an integer", "float": "a float", "str": "a string"}
