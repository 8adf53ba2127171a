"""Mutants that change nothing that a caller could see. `tool.py` does not count them.

An entry names the lines before and after as `tool.py` prints them, and why no test can notice. Sparingly: a mutant that
changes a text that a user reads is not equivalent.
"""

import re
from typing import NamedTuple


class Equivalent(NamedTuple):
    """One mutant: its file below the library, its line before and after, and the reason."""

    file: str
    old: str
    new: str
    reason: str


CODEC = "Python takes both names of the codec, and UTF-8 is the default of every machine that runs the tests"
EVERYWHERE = [
    # lines before and after, both whole; what differs between them must be only the named part
    (r'encoding="utf-8"', r'encoding="UTF-8"', CODEC),
    (r'encoding="utf-8"', r"encoding=None", CODEC),
    (r',? ?encoding="utf-8"', r",?\s?", CODEC),
]

MUTANTS = [
    Equivalent(
        "verification/verify.py",
        "samples = 1 + max((verdict.sample_index for verdict in verdicts), default=-1)",
        "samples = 1 + max((verdict.sample_index for verdict in verdicts), default=-2)",
        "the range of degrees is empty for 0 samples and for -1",
    ),
    Equivalent(
        "verification/verify.py",
        '"share_of_questions": round(covered[-1] / len(rights), 4) if covered and rights else None,',
        '"share_of_questions": round(covered[-1] / len(rights), 4) if covered or rights else None,',
        "both are empty without verdicts, and neither with one",
    ),
    Equivalent(
        "evaluation/tables.py",
        'rounds=_rounds([run.scores.get("rounds", {}).get(grader, []) for run in runs]),',
        'rounds=_rounds([run.scores.get("rounds", {}).get(grader, ) for run in runs]),',
        "a run without rounds is as falsy as None as it is as an empty list",
    ),
    *(
        Equivalent(
            "verification/gold_check.py",
            'found = grade(f"{rationale} --> {gold}", None, "stop", gold, grader, "-->")',
            f'found = grade(f"{{rationale}} --> {{gold}}", None, "{word}", gold, grader, "-->")',
            "every reason but `length`, `refused` and `failed` is read as `stop`",
        )
        for word in ("XXstopXX", "STOP")
    ),
]


ON_IMPORT = {("programs/execution.py", "_text"), ("programs/execution.py", "_or_none")}
"""Functions that are called only while their module is imported, before mutmut switches a mutant on. With these two
changed in the file itself, `tests/unit/programs/test_execution.py` fails."""


def reason_of(file: str, function: str, old: str, new: str) -> str | None:
    """Why a mutant changes nothing, or None."""
    if (file, function) in ON_IMPORT:
        return "called on import, before the mutant is switched on"
    for entry in MUTANTS:
        if (entry.file, entry.old, entry.new) == (file, old, new):
            return entry.reason
    for before, after, reason in EVERYWHERE:
        for part in re.finditer(before, old):
            if re.fullmatch(re.escape(old[: part.start()]) + after + re.escape(old[part.end() :]), new):
                return reason
    return None
