"""The scorer `execution`: does the program run so far?"""

import ast
import textwrap
from collections.abc import Sequence

from distillery.programs.execution import Execution, RunOutcome
from distillery.programs.syntax import Unparsable, completeness, parse

FAILED = 0.01
"""Score of a line after which the program does not run: its logarithm must exist."""

SOLUTION = "solution"
CLOSED = (
    *(ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return, ast.Pass, ast.Delete, ast.Assert, ast.Raise),
    *(ast.Import, ast.ImportFrom, ast.FunctionDef),
)
"""Statements that no further line changes, and function definitions, which do nothing until they are called."""


class Runs:
    """1 if the program runs so far, else nearly 0.

    Every prefix of a program that runs to a value scores 1. A finished program scores 1 if it runs to a value.
    """

    def scores(
        self, questions: Sequence[str], prefixes: Sequence[str], lines: Sequence[str], finished: Sequence[bool]
    ) -> list[float]:
        from distillery.programs.run import run_programs

        programs = [
            so_far(prefix + line, finished=end) for prefix, line, end in zip(prefixes, lines, finished, strict=True)
        ]
        runs, _ = run_programs([program for program in programs if program is not None])
        remaining = iter(runs)
        return [1.0 if program is not None and _has_value(next(remaining)) else FAILED for program in programs]


def _has_value(run: Execution) -> bool:
    return run.outcome in (RunOutcome.OK, RunOutcome.WRONG_TYPE) and run.kind != "none"


def so_far(text: str, *, finished: bool = False) -> str | None:
    """A whole program that does what a prefix has done for certain; None for a text that can no longer be a program.

    Left out is what may still change: an incomplete statement, and an open block at the end (a loop without its last
    line may never end, a `try` without its `except` may raise). What is left gets a `return 0` where `solution` has not
    returned yet.
    """
    source = textwrap.dedent(text)
    if finished:
        return source if completeness(source) == "complete" else None
    if completeness(source if source.endswith("\n") else source + "\n") == "wrong":
        return None
    lines = source.rstrip("\n").split("\n")
    while lines and completeness("\n".join(lines) + "\n") != "complete":
        lines.pop()
    try:
        tree = parse("\n".join(lines) + "\n")
    except Unparsable:
        return None
    last = tree.body[-1] if tree.body else None
    function = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == SOLUTION), None)
    if last is not None and last is not function and not isinstance(last, CLOSED):
        lines = lines[: last.lineno - 1]
    if function is None:
        return "\n".join([*lines, f"def {SOLUTION}():", "    return 0"]) + "\n"
    if last is not function or any(isinstance(node, ast.Return) for node in function.body):
        return "\n".join(lines) + "\n"
    first, end = function.body[0], function.body[-1]
    if first.lineno == function.lineno:  # all on one line: nothing can follow it
        return "\n".join(lines) + "\n"
    indent = lines[first.lineno - 1].encode()[: first.col_offset].decode()
    kept = lines if isinstance(end, CLOSED) else lines[: end.lineno - 1]
    return "\n".join([*kept, f"{indent}return 0"]) + "\n"
