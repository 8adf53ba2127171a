r"""The sandbox: programs in, one `Execution` each out, in the same order.

>>> with Sandbox() as box:  # doctest: +SKIP
...     [(run.outcome, run.value) for run in box.run(["def solution():\n    return 6 * 7"])]
[(<RunOutcome.OK: 'ok'>, '42')]

Three layers: the gate reads each program before it runs; a pool of workers inside the strongest isolation that the
machine offers runs it (`isolation`, `worker`); this module, outside, watches the wall clock and believes nothing that
comes back before `execution.parse_record` has read it. Gold answers are not known here.

A worker is replaced after 500 programs, and after any program that had to be killed, so that no program can prepare
the ground for the next one. A fault of the sandbox itself is retried, and reported as such if it stays; it is never the
program's mistake.

Time is limited twice. Processor time is a program's own, whatever else the machine does: a program that uses up its
seconds has timed out, at once and for good, so that N endless loops cost N times the limit, shared by all workers. The
clock on the wall only catches programs that wait. A starved machine can make an honest program late, so a program that
missed the wall's limit without using up its processor time runs once more, alone.
"""

import functools
import os
import selectors
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from distillery.errors import UserError
from distillery.programs.execution import MAX_RECORD, Execution, RunOutcome, execution_of
from distillery.programs.gate import refusal
from distillery.programs.isolation import PROBE, PROFILES, Profile, bwrap_programs, worker_settings
from distillery.programs.worker import HEAD
from distillery.programs.worker_process import BROKEN, START_SECONDS, Worker

PROGRAMS_PER_WORKER = 500
ATTEMPTS = 3
"""How often a program is tried before a fault of the sandbox becomes its outcome."""
MAX_SOURCE = 262_144
"""Largest program that goes to a worker where the gate is off, in bytes."""


@dataclass(slots=True)
class _Job:
    index: int
    source: bytes
    faults: int = 0
    timeouts: int = 0


class Sandbox:
    """A pool of workers for programs of strangers.

    Args:
        profile: `auto` takes the strongest that works here; a name takes that one; `unsafe` only by name.
        workers: Programs at a time; by default as many as there are cores, since this process mostly waits.
        wall_seconds: Longest a program may take by the clock on the wall; far above `cpu_seconds`, since other work
            on the machine makes programs slow.
        cpu_seconds: Processor seconds after which it is stopped; one more, and it is killed.
        memory_mb: Address space of a program, Python's own 30 MB included.
        gate: False runs what the gate would refuse: for tests of the wall behind it.

    Use it in the thread that opened it: workers die with that thread, so that none outlives a crash.

    Raises:
        UserError: No profile works here, or the one that was asked for does not; says why for each.

    Source: PaD specification, section 9.3.
    """

    def __init__(
        self,
        profile: Literal["auto"] | Profile = "auto",
        workers: int | None = None,
        wall_seconds: float = 20.0,
        cpu_seconds: int = 2,
        memory_mb: int = 512,
        gate: bool = True,
    ) -> None:
        self.wall_seconds, self.gate = wall_seconds, gate
        chosen = probe() if profile == "auto" else profile
        self._profile, bwrap = _resolve(chosen)
        settings = worker_settings(self._profile, cpu_seconds=cpu_seconds, memory_mb=memory_mb, most=MAX_RECORD)
        number = len(os.sched_getaffinity(0)) if workers is None else workers
        self._pool = [Worker(self._profile, settings, bwrap) for _ in range(number)]
        self._running = False

    def __enter__(self) -> "Sandbox":
        try:
            for worker in self._pool:
                worker.start()
        except OSError as error:
            self.__exit__()
            raise UserError(
                f"the sandbox does not start: {error}",
                key="profile",
                value=self._profile,
                remedy="See docs/sandbox.md, profiles",
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._pool:
            worker.stop()

    @property
    def profile(self) -> str:
        """What is in use, for the manifest: `bwrap+landlock`, `bwrap`, `seccomp+landlock`, `seccomp` or `unsafe`."""
        return f"{self._profile}+landlock" if self._pool[0].landlock else self._profile

    def run(self, programs: Iterable[str]) -> Iterator[Execution]:
        """Yield one `Execution` per program, in the order given, while later ones are running.

        Reads `programs` a little ahead. One call at a time; after an abandoned one, the workers start again.
        """
        if self._running:
            raise RuntimeError("this sandbox is running other programs: open a second one")
        self._running = True
        busy: dict[int, tuple[_Job, float]] = {}  # worker number -> its program, and when it must have ended
        try:
            yield from self._schedule(enumerate(programs), busy)
        finally:
            for number in busy:
                self._pool[number].stop()
            self._running = False

    def _schedule(self, feed: Iterator[tuple[int, str]], busy: dict[int, tuple[_Job, float]]) -> Iterator[Execution]:
        done: dict[int, Execution] = {}
        waiting: deque[_Job] = deque()
        alone: deque[_Job] = deque()  # missed the limit on the wall once: once more, with nothing beside
        following, exhausted, alone_now = 0, False, False
        while True:
            while not exhausted and len(waiting) <= len(self._pool) and len(done) < 10_000:
                item = next(feed, None)
                if item is None:
                    exhausted = True
                else:
                    self._admit(*item, waiting, done)
            alone_now = alone_now and bool(busy)
            for number in range(len(self._pool)):
                if number in busy or alone_now:
                    continue
                if alone:
                    if busy:
                        break  # the others end first
                    job, alone_now = alone.popleft(), True
                elif waiting:
                    job = waiting.popleft()
                else:
                    break
                self._dispatch(number, job, busy, done)
            while following in done:
                yield done.pop(following)
                following += 1
            if busy:
                self._collect(busy, done, waiting, alone)
            elif exhausted and not waiting and not alone:
                break

    def _admit(self, index: int, source: str, waiting: deque[_Job], done: dict[int, Execution]) -> None:
        rule = refusal(source) if self.gate else None
        data = source.encode("utf-8", "surrogatepass")
        if rule is None and len(data) > MAX_SOURCE:
            rule = "size"
        if rule is None:
            waiting.append(_Job(index, data))
        else:
            done[index] = Execution(RunOutcome.REJECTED, rule)

    def _dispatch(
        self, number: int, job: _Job, busy: dict[int, tuple[_Job, float]], done: dict[int, Execution]
    ) -> None:
        worker = self._pool[number]
        while True:
            try:
                if worker.process is None or worker.served >= PROGRAMS_PER_WORKER:
                    worker.start()
                worker.send(job.source)
            except BROKEN as error:
                worker.stop()
                job.faults += 1
                if job.faults >= ATTEMPTS:
                    done[job.index] = Execution(RunOutcome.SANDBOX_ERROR, message=str(error)[:500])
                    return
            else:
                busy[number] = (job, time.monotonic() + self.wall_seconds)
                return

    def _collect(
        self,
        busy: dict[int, tuple[_Job, float]],
        done: dict[int, Execution],
        waiting: deque[_Job],
        alone: deque[_Job],
    ) -> None:
        """Wait until a worker answers or a program runs out of time; file what came of it."""
        with selectors.DefaultSelector() as selector:
            for number in busy:
                selector.register(self._pool[number], selectors.EVENT_READ, number)
            first = min(deadline for _, deadline in busy.values())
            selector.select(max(0.0, first - time.monotonic()))
        for number, (job, deadline) in list(busy.items()):
            worker = self._pool[number]
            try:
                frame = worker.receive()
                if frame is None:
                    if time.monotonic() < deadline:
                        continue
                    execution = Execution(RunOutcome.TIMEOUT_WALL, seconds=self.wall_seconds)
                else:
                    execution = self._read(frame)
            except BROKEN as error:
                execution = Execution(RunOutcome.SANDBOX_ERROR, message=str(error)[:500])
            del busy[number]
            if execution.outcome in _DISTRUSTED:
                worker.stop()
            if execution.outcome == RunOutcome.SANDBOX_ERROR and job.faults + 1 < ATTEMPTS:
                job.faults += 1
                waiting.appendleft(job)
            elif execution.outcome == RunOutcome.TIMEOUT_WALL and job.timeouts == 0:
                job.timeouts = 1
                alone.append(job)
            else:
                done[job.index] = execution

    def _read(self, frame: bytes) -> Execution:
        if len(frame) < HEAD.size:
            raise ValueError("the worker's answer is too short")
        ended_by, code, seconds, over = HEAD.unpack(frame[: HEAD.size])
        if seconds > self.wall_seconds:  # it ended while nobody watched
            return Execution(RunOutcome.TIMEOUT_WALL, seconds=seconds)
        return execution_of(frame[HEAD.size :], signal_number=ended_by, exit_code=code, over=over, seconds=seconds)


_DISTRUSTED = (
    RunOutcome.TIMEOUT_CPU,
    RunOutcome.TIMEOUT_WALL,
    RunOutcome.KILLED,
    RunOutcome.OUTPUT_LIMIT,
    RunOutcome.SANDBOX_ERROR,
)
"""After these the worker is replaced."""


@functools.cache
def probe() -> Profile:
    """The strongest profile that works here and holds: each is tried once per process, with programs that attack it.

    Raises:
        UserError: None does; the message says what went wrong with each.
    """
    faults = []
    for profile in PROFILES:
        try:
            return _resolve(profile)[0]
        except UserError as error:
            faults.append(f"{profile}: {error.problem}")
    raise UserError(
        "programs of a model cannot be run safely on this machine (" + "; ".join(faults) + ")",
        key="profile",
        remedy="See docs/sandbox.md; or set the profile to `unsafe` if you would run these programs by hand",
    )


@functools.cache
def _resolve(profile: str) -> tuple[Profile, str | None]:
    """A profile by its name, with the bwrap that works; checked by the self-test."""
    if profile == "unsafe":
        return "unsafe", None
    if profile not in PROFILES:
        raise UserError(
            "no such sandbox profile", key="profile", value=profile, remedy=f"Choose one of {', '.join(PROFILES)}"
        )
    candidates: list[str | None] = [*bwrap_programs()] if profile == "bwrap" else [None]
    faults = [] if candidates else ["no bwrap: install the extra `programs`, or the system's bubblewrap"]
    for bwrap in candidates:
        fault = _self_test(profile, bwrap)
        if fault is None:
            return profile, bwrap
        faults.append(fault)
    raise UserError("; ".join(faults), key="profile", value=profile, remedy="See docs/sandbox.md, profiles")


def _self_test(profile: Profile, bwrap: str | None) -> str | None:
    """What is wrong with a profile here, or None."""
    try:
        settings = worker_settings(profile, cpu_seconds=2, memory_mb=512, most=MAX_RECORD)
        worker = Worker(profile, settings, bwrap)
        try:
            worker.start()
            worker.send(PROBE.encode())
            frame = worker.wait(time.monotonic() + START_SECONDS)
        finally:
            worker.stop()
    except UserError as error:
        return error.problem
    except BROKEN as error:
        return str(error)
    ended_by, code, seconds, over = HEAD.unpack(frame[: HEAD.size])
    run = execution_of(frame[HEAD.size :], signal_number=ended_by, exit_code=code, over=over, seconds=seconds)
    if run.value == "nothing":
        return None
    return f"a test program could {run.value}" if run.outcome == RunOutcome.OK else f"a test program gave {run.label}"
