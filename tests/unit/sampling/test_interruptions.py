"""Ctrl-C at each line between the arrival of an answer and its place in the store: nothing is lost, nothing doubled."""

import json
import os
import sys
import threading
import uuid
from collections import Counter
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest

from distillery.errors import UserError
from distillery.sampling import budget as budgets
from distillery.sampling.backends import api
from distillery.sampling.backends.api import ApiBackend, RequestRefused
from distillery.sampling.backends.base import Generated, PendingRequest
from distillery.sampling.budget import Budget
from distillery.sampling.requests import Request, Series
from distillery.sampling.sampler import CompletionSampler
from distillery.sampling.store import CompletionStore

LIBRARY = Path(budgets.__file__).parent
TRACED = {str(LIBRARY / name) for name in ("sampler.py", "writer.py", "store.py", "budget.py", "claims.py")} | {
    str(LIBRARY / "backends" / "api.py"),
    str(LIBRARY.parent / "jobs" / "locks.py"),
}
DECODING = {"temperature": 0.0, "max_new_tokens": 8}
COUNT = 4
EVERY = int(os.environ.get("STEPS_BETWEEN", "7" if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else "61"))
"""The interruption comes at every 61st line, nightly at every 7th (or as STEPS_BETWEEN says)."""
STEPS = 1500
"""Fewer than there are in each of the jobs."""


class Interrupter:
    """Raises KeyboardInterrupt in the main thread at the n-th line of the traced files."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.place: str | None = None
        """Where it was raised."""

    def __call__(self, frame: FrameType, event: str, _: object):
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise KeyboardInterrupt
        return self


class Endpoint(ApiBackend):
    """Answers at once, in the threads that otherwise wait for a server. `fault` befalls one question."""

    def __init__(self, folder: Path, budget: Budget, arrived: Counter, fault: str) -> None:
        super().__init__(folder, budget, "m")
        self.arrived, self.fault = arrived, fault
        self.others_are_there = threading.Semaphore(0)

    def _answer(self, pending: PendingRequest, series: Series) -> Generated:
        if self.fault == "the key is refused" and pending.request.prompt == "question 1":
            for _ in range(COUNT - 1):
                self.others_are_there.acquire(timeout=0.1)
            raise RequestRefused("key", "401", key_refused=True)
        self.arrived[pending.key] += 1
        self.others_are_there.release()
        return Generated(pending.key, "4", "failed" if pending.request.prompt == "question 2" else "stop", 1, 2)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "api.json").write_text(json.dumps({"id": "m", "key": "", "endpoint": "http://127.0.0.1:9/v1"}))
    # No request is sent: a client of its own for each of thousands of jobs would take most of the time.
    monkeypatch.setattr(api.httpx2, "Client", lambda **_: None)
    monkeypatch.setattr(api.openai, "OpenAI", lambda **_: SimpleNamespace(close=lambda: None))
    monkeypatch.setenv("DISTILLERY_WORK", str(tmp_path / "work"))
    monkeypatch.setattr(budgets, "NOTE_SECONDS", 0.0)  # each answer goes through the ledger
    monkeypatch.setattr("distillery.sampling.store.UNIT_COMPLETIONS", 2)
    return tmp_path


FAULTS = {
    "no other fault": {"samples": 100},
    "the key is refused": {"samples": 100},
    "the budget is spent": {"samples": 2},
}
"""What goes wrong besides, and the limits of the budget."""


def attempt(folder: Path, fault: str, interrupter: Interrupter) -> None:
    """Run a job that is interrupted, check what it left, run it again, and check that nothing was paid for twice."""
    arrived: Counter[str] = Counter()
    ledger = folder / f"{uuid.uuid4().hex}.jsonl"
    store = CompletionStore(f"memory://{uuid.uuid4().hex}")

    def run(fault: str, limits: dict[str, float]) -> None:
        sampler = CompletionSampler(folder, "m", "api", store)
        sampler.budget = Budget(limits, ledger)
        sampler._backend = Endpoint(folder, sampler.budget, arrived, fault)
        requests = [Request(f"question {number}", 0, special_tokens=False) for number in range(COUNT)]
        sampler.complete(requests, DECODING, [], "test")

    sys.settrace(interrupter)
    try:
        run(fault, FAULTS[fault])
    except (KeyboardInterrupt, UserError):
        pass
    finally:
        sys.settrace(None)
    stored = Counter(
        row["key"]
        for series in store.series_folders()
        for _, table in store.tables(series)
        for row in table.to_pylist()
    )
    assert stored == arrived, "what arrived is stored once"
    assert Budget({"samples": 1}, ledger).spent["samples"] == arrived.total(), "and billed once"
    run("no other fault", {"samples": 100})
    assert len(arrived) == COUNT == arrived.total(), "nothing is paid for twice"


@pytest.mark.reliability("server", cases=STEPS // EVERY)
@pytest.mark.parametrize("fault", FAULTS)
def test_an_interruption_at_any_step_loses_and_doubles_nothing(folder, fault):
    step = EVERY
    while True:
        interrupter = Interrupter(step)
        try:
            attempt(folder, fault, interrupter)
        except AssertionError as error:
            raise AssertionError(f"step {step}, at {interrupter.place}: {error}") from error
        if interrupter.place is None:
            break
        step += EVERY

    assert step > STEPS
