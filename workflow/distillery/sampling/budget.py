"""What one run of the workflow may spend on samples, and what it has spent.

The limits come from the settings (`budget:`). The jobs of a run append what they spend to a shared ledger. A job that
finds the budget spent stops cleanly: its completions are in the store, and the next run continues from there. Jobs that
run at the same time see each other's spending with a delay of a second, so a limit can be passed by what is in flight.
"""

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

from distillery.errors import UserError

logger = logging.getLogger(__name__)

LIMITS_VARIABLE = "DISTILLERY_BUDGET"
RUN_VARIABLE = "DISTILLERY_RUN"
PRICES_VARIABLE = "DISTILLERY_PRICES"
KINDS = ("samples", "tokens", "money")
NOTE_SECONDS = 1.0


class Budget:
    """Limits and the ledger of one run.

    Args:
        limits: Kind (`samples`; generated `tokens`; `money` in the unit of the models' prices) -> the most to spend.
        ledger: File that the jobs of the run share.
    """

    def __init__(self, limits: Mapping[str, float], ledger: Path) -> None:
        self.limits = dict(limits)
        self.ledger = ledger
        self._waiting = dict.fromkeys(KINDS, 0.0)
        self._noted = time.monotonic()
        self._known = self._read() if self.limits else dict.fromkeys(KINDS, 0.0)

    @classmethod
    def from_environment(cls) -> "Budget":
        """The budget of the run that this job belongs to; without limits where none are set."""
        given = json.loads(os.environ.get(LIMITS_VARIABLE) or "{}")
        limits = {kind: given[kind] for kind in KINDS if given.get(kind) is not None}
        run = os.environ.get(RUN_VARIABLE) or f"by-hand-{os.getpid()}"
        return cls(limits, Path(os.environ.get("DISTILLERY_WORK", "work")) / "ledger" / f"{run}.jsonl")

    def note(self, *, samples: int, tokens: int, money: float) -> None:
        """Add to what is spent; other jobs see it after a second, or at `close`."""
        for kind, amount in zip(KINDS, (samples, tokens, money), strict=True):
            self._waiting[kind] += amount
        if self.limits and time.monotonic() - self._noted >= NOTE_SECONDS:
            self.close()

    def close(self) -> None:
        """Write what was noted."""
        if self.limits and any(self._waiting.values()):
            self.ledger.parent.mkdir(parents=True, exist_ok=True)
            with open(self.ledger, "a", encoding="utf-8") as ledger:
                ledger.write(json.dumps(self._waiting) + "\n")
            self._waiting = dict.fromkeys(KINDS, 0.0)
        self._noted = time.monotonic()
        self._known = self._read() if self.limits else self._known

    def _read(self) -> dict[str, float]:
        total = dict.fromkeys(KINDS, 0.0)
        if self.ledger.exists():
            for line in self.ledger.read_text(encoding="utf-8").splitlines():
                try:
                    noted = {kind: float(amount) for kind, amount in json.loads(line).items() if kind in total}
                except (ValueError, TypeError, AttributeError):  # a line that a killed process left half written
                    logger.warning("%s: a line that is no entry is passed over", self.ledger)
                    continue
                for kind, amount in noted.items():
                    total[kind] += amount
        return total

    @property
    def spent(self) -> dict[str, float]:
        return {kind: self._known[kind] + self._waiting[kind] for kind in KINDS}

    def affords(self, *, samples: float, tokens: float, money: float) -> bool:
        """Whether so much more can be spent without passing a limit."""
        more = dict(zip(KINDS, (samples, tokens, money), strict=True))
        return all(self.spent[kind] + more[kind] <= limit for kind, limit in self.limits.items())

    def samples_left(self, wanted: int) -> int:
        """How many of the wanted samples may still be generated."""
        if self.exhausted:
            return 0
        limit = self.limits.get("samples")
        return wanted if limit is None else max(0, min(wanted, int(limit - self.spent["samples"])))

    @property
    def exhausted(self) -> str | None:
        """The kind of limit that is reached, or None."""
        return next((kind for kind, limit in self.limits.items() if self.spent[kind] >= limit), None)

    def refusal(self, what: str, generated: int, missing: int) -> UserError:
        """The error that stops a job: what is there, what is missing, what to do."""
        kind = self.exhausted or max(self.limits, key=lambda limit: self.spent[limit] / max(self.limits[limit], 1e-9))
        state = "is spent" if self.exhausted else "does not afford another request"
        return UserError(
            f"the budget of this run {state}: {self.spent[kind]:g} of {self.limits[kind]:g} {kind}. {what}: "
            f"{generated} samples were generated now and are in the store, {missing - generated} are missing",
            key=f"budget.{kind}",
            value=self.limits[kind],
            remedy="Run again with a larger budget, or with the same: each run has a budget of its own",
        )


def price_of(identity: str, prompt_tokens: int, completion_tokens: int) -> float:
    """What tokens of a model cost; nothing for a model without a price."""
    prices = json.loads(os.environ.get(PRICES_VARIABLE) or "{}").get(identity)
    return (prompt_tokens * prices[0] + completion_tokens * prices[1]) / 1e6 if prices else 0.0
