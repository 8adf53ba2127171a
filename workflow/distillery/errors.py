"""One error for everything that a user can fix: it names the file, the line, the key, the value and the remedy."""

from distillery.visible import visible

SHOWN = 1000
"""Characters of a value that a message shows at most."""


class UserError(Exception):
    """Bad input from the user. Printed as one line each, without a traceback.

    Args:
        problem: What is wrong, in words that a user of the workflow knows.
        file: The file that holds the fault, as the user would open it.
        key: Where in the file: a dotted path (`train.learning_rate`) or a row (`row 17`).
        value: The offending value, shown as written.
        remedy: What to do about it, in the imperative.
        line: Line of the file where the fault was typed, from 1.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: object = None,
        key: str | None = None,
        value: object = None,
        remedy: str | None = None,
        line: int | None = None,
    ) -> None:
        self.problem, self.file, self.key, self.value, self.remedy = problem, file, key, value, remedy
        self.line = line
        super().__init__(str(self))

    def __str__(self) -> str:
        file = f"{self.file}:{self.line}" if self.file is not None and self.line is not None else self.file
        place = ": ".join(visible(str(part), one_line=True) for part in (file, self.key) if part is not None)
        shown = "" if self.value is None else f" = {_shown(self.value)}"
        text = f"{place}{shown}: {self.problem}" if place else self.problem
        return visible(f"{text}. {self.remedy}" if self.remedy else text)


def _shown(value: object) -> str:
    """A value as written, or its beginning: a message stays readable whatever the value is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more than 4,300 digits, or lists in lists without end
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


class UserErrors(UserError):
    """Several faults found in one pass: all are shown, so that the user fixes them in one go."""

    def __init__(self, errors: list[UserError]) -> None:
        self.errors = errors
        Exception.__init__(self, str(self))

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)
