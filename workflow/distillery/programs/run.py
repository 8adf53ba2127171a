"""Running the programs of a stage: in the sandbox that machine and settings allow, each different program once."""

import logging
import os
import time
from collections.abc import Sequence
from typing import Any

from distillery.errors import UserError
from distillery.programs.execution import Execution, RunOutcome
from distillery.programs.sandbox import Sandbox

logger = logging.getLogger(__name__)

SANDBOX_VARIABLE = "DISTILLERY_SANDBOX"


def run_programs(programs: Sequence[str]) -> tuple[list[Execution], dict[str, Any]]:
    """Run programs in the sandbox that this machine and the settings allow.

    Returns:
        One `Execution` each, in order; and how many ran, in which profile, in how many seconds.

    Raises:
        UserError: No profile works, or a program could not be judged because the sandbox itself failed.
    """
    if not programs:
        return [], {"programs": 0}
    start = time.monotonic()
    with Sandbox(profile=os.environ.get(SANDBOX_VARIABLE, "auto")) as box:  # type: ignore[arg-type]  # checked there
        distinct = list(dict.fromkeys(programs))
        runs = dict(zip(distinct, box.run(distinct), strict=True))
        profile = box.profile
    seconds = time.monotonic() - start
    broken = [run for run in runs.values() if run.outcome == RunOutcome.SANDBOX_ERROR]
    if broken:
        raise UserError(
            f"the sandbox itself failed on {len(broken)} of {len(runs)} programs: {broken[0].message}",
            key="sandbox",
            value=profile,
            remedy="Free memory and processes and run again; docs/sandbox.md says what each profile needs",
        )
    logger.info("%d programs, %d different, in %.1f s (%s)", len(programs), len(distinct), seconds, profile)
    return [runs[program] for program in programs], {
        "programs": len(programs), "distinct_programs": len(distinct), "sandbox": profile, "seconds": round(seconds, 2)
    }  # fmt: skip
