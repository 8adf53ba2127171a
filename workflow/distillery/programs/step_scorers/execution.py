"""The scorer `execution`: does the program run so far?"""

from collections.abc import Sequence

FAILED = 0.01
"""Score of a line after which the program does not run: its logarithm must exist."""


class Runs:
    """1 if the program runs so far, else nearly 0; a line that opens a block is completed to run."""

    def scores(self, questions: Sequence[str], prefixes: Sequence[str], lines: Sequence[str]) -> list[float]:
        from distillery.programs.execution import RunOutcome
        from distillery.programs.run import run_programs

        runs, _ = run_programs([so_far(prefix, line) for prefix, line in zip(prefixes, lines, strict=True)])
        return [1.0 if run.outcome in (RunOutcome.OK, RunOutcome.WRONG_TYPE) else FAILED for run in runs]


def so_far(prefix: str, line: str) -> str:
    """A program that ends after `line` and returns: it runs if it is right so far, and raises if it is not."""
    text = (prefix + line).rstrip()
    indent = len(line) - len(line.lstrip())
    if text.endswith(":"):
        body = " " * (indent + 4)
        return f"{text}\n{body}pass\n    return 0" if indent else f"{text}\n{body}return 0"
    return text if line.strip().startswith("return") and indent <= 4 else f"{text}\n    return 0"
