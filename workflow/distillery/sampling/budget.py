"""What one run of the workflow may spend on samples, and what it has spent.

The limits come from the settings (`budget:`). The jobs of a run append what they spend to a shared ledger. A job that
finds the budget spent stops cleanly: its completions are in the store, and the next run continues from there. Jobs that
run at the same time see each other's spending with a delay of a second, so a limit can be passed by what is in flight.

    {"samples": 3.0, "tokens": 90.0, "money": 0.5}

is an entry of the ledger, on a line of its own. Anything else in the file (a line that a power failure tore, zeros,
bytes that are no text) is passed over, and takes nothing away from the entries around it.
"""

import contextlib
import fcntl
import json
import logging
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from distillery.errors import UserError

logger = logging.getLogger(__name__)

LIMITS_VARIABLE = "DISTILLERY_BUDGET"
RUN_VARIABLE = "DISTILLERY_RUN"
PRICES_VARIABLE = "DISTILLERY_PRICES"
KINDS = ("samples", "tokens", "money")
NOTE_SECONDS = 1.0
LOCK_SECONDS = 2.0
"""Most seconds that an entry waits for other writers. Then it is appended all the same."""
MOST = 1e15
"""More than this in one entry is damage."""
ENTRY = re.compile(rb"\{[^{}]*\}")


class Budget:
    """Limits and the ledger of one run.

    Args:
        limits: Kind (`samples`; generated `tokens`; `money` in the unit of the models' prices) -> the most to spend.
        ledger: File that the jobs of the run share.
    """

    def __init__(self, limits: Mapping[str, float], ledger: Path) -> None:
        self.limits = dict(limits)
        self.ledger = ledger
        self._others = dict.fromkeys(KINDS, 0.0)
        # Spending of this process. An interruption between two statements must neither lose nor double an amount:
        # amounts are kept by request, and each step can be taken again.
        self._settled: tuple[dict[str, float], frozenset[str]] = dict.fromkeys(KINDS, 0.0), frozenset()
        self._sealed: Sealed | None = None
        self._open: dict[str, dict[str, float]] = {}
        self._noted = time.monotonic()
        self._damage_reported = False
        if self.limits:
            with self._naming_the_ledger():
                self._read()

    @classmethod
    def from_environment(cls) -> "Budget":
        """The budget of the run that this job belongs to; without limits where none are set."""
        given = json.loads(os.environ.get(LIMITS_VARIABLE) or "{}")
        limits = {kind: given[kind] for kind in KINDS if given.get(kind) is not None}
        run = os.environ.get(RUN_VARIABLE) or f"by-hand-{os.getpid()}"
        return cls(limits, Path(os.environ.get("DISTILLERY_WORK", "work")) / "ledger" / f"{run}.jsonl")

    def note(self, *, samples: int, tokens: int, money: float, request: str | None = None) -> None:
        """Add to what is spent; other jobs see it after a second, or at `close`.

        Args:
            request: What it was spent on; noted again, it changes nothing.
        """
        if not self.limits:
            return
        key = request or uuid.uuid4().hex
        if key not in self._settled[1]:
            self._open[key] = dict(zip(KINDS, (float(samples), float(tokens), float(money)), strict=True))
        if time.monotonic() - self._noted >= NOTE_SECONDS:
            self.close()

    def close(self) -> None:
        """Write what was noted.

        Raises:
            UserError: The ledger cannot be written; the amounts stay noted here.
        """
        self._noted = time.monotonic()
        if self.limits:
            with self._naming_the_ledger():
                self._write()
                self._read()

    @contextlib.contextmanager
    def _naming_the_ledger(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"the ledger of this run cannot be kept ({error.strerror}), so other jobs do not see what is spent",
                file=self.ledger,
                remedy="Make room or get permission to write, and run again: what was generated is in the store",
            ) from error

    def _write(self) -> None:
        while self._sealed is not None or self._unsettled:  # twice after an interruption: what was begun, then the rest
            if self._sealed is None:
                amounts = self._unsettled
                entry = {kind: sum(amount[kind] for amount in amounts.values()) for kind in KINDS}
                self._sealed = Sealed(json.dumps(entry).encode(), amounts)
            amounts = self._sealed.amounts
            _append(self.ledger, self._sealed)
            total, keys = self._settled
            if not amounts.keys() <= keys:
                spent = {kind: total[kind] + sum(amount[kind] for amount in amounts.values()) for kind in KINDS}
                self._settled = spent, keys | amounts.keys()
            self._sealed = None
        self._open = self._unsettled

    @property
    def _unsettled(self) -> dict[str, dict[str, float]]:
        return {key: amount for key, amount in self._open.items() if key not in self._settled[1]}

    def _read(self) -> None:
        """Count the entries of other processes. What was counted once is never taken back."""
        try:
            data = self.ledger.read_bytes()
        except FileNotFoundError:
            return
        total = dict.fromkeys(KINDS, 0.0)
        for found in ENTRY.findall(data):
            for kind, amount in (_entry(found) or {}).items():
                total[kind] += amount
        rest = [part for part in ENTRY.split(data) if part.strip()]
        if not self._damage_reported and (rest or any(_entry(found) is None for found in ENTRY.findall(data))):
            self._damage_reported = True
            logger.warning("%s: what is no entry is passed over", self.ledger)
        self._others = {kind: max(total[kind] - self._settled[0][kind], self._others[kind]) for kind in KINDS}

    @property
    def spent(self) -> dict[str, float]:
        """What the run has spent, as far as this process knows, by kind."""
        unsettled = self._unsettled.values()
        return {
            kind: self._others[kind] + self._settled[0][kind] + sum(amount[kind] for amount in unsettled)
            for kind in KINDS
        }

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


@dataclass
class Sealed:
    """An entry on its way to the ledger, and where in the file it was begun: so it is not written twice."""

    line: bytes
    amounts: dict[str, dict[str, float]]
    begun: int | None = None


def _entry(data: bytes) -> dict[str, float] | None:
    """Amounts of an entry; None for anything else."""
    try:
        entry = json.loads(data)
        amounts = {kind: entry[kind] for kind in KINDS if kind in entry}
    except (ValueError, RecursionError):
        return None
    believable = all(
        isinstance(amount, int | float) and not isinstance(amount, bool) and 0 <= amount <= MOST
        for amount in amounts.values()
    )
    return {kind: float(amount) for kind, amount in amounts.items()} if amounts and believable else None


def _append(ledger: Path, entry: Sealed) -> None:
    """Append a line with one write, unless an interrupted attempt has done so; after a torn line on a new one."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(ledger, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        _lock(descriptor)
        size = os.fstat(descriptor).st_size
        if entry.begun is None:
            entry.begun = size
        elif os.pread(descriptor, max(0, size - entry.begun), entry.begun).lstrip(b"\n").startswith(entry.line + b"\n"):
            return
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, b"\n" * torn + entry.line + b"\n")
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Keep other writers out for a moment: on network file systems, appending alone does not."""
    until = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < until:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # for ever, if its holder is stopped
            time.sleep(0.01)
        except OSError:  # no locks here
            return None
