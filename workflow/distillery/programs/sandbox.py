r"""The sandbox: programs in, one `Execution` each out, in the same order.

>>> with Sandbox() as box:  # doctest: +SKIP
...     [(run.outcome, run.value) for run in box.run(["def solution():\n    return 6 * 7"])]
[(<Outcome.OK: 'ok'>, '42')]

Three layers: the gate reads each program before it runs; a pool of workers inside the strongest isolation that the
machine offers runs it (`isolation`, `worker`); this module, outside, watches the wall clock and believes nothing that
comes back before `execution.parse_record` has read it. Gold answers are not known here.

A worker is replaced after 500 programs, and after any program that had to be killed, so that no program can prepare
the ground for the next one. A program that ran out of time runs once more with nothing beside it before that counts. A
fault of the sandbox itself is retried, and reported as such if it stays; it is never the program's mistake.
"""

import functools
import os
import selectors
import struct
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Literal

from distillery.errors import UserError
from distillery.programs.execution import MAX_RECORD, Execution, Outcome, execution_of
from distillery.programs.gate import refusal
from distillery.programs.isolation import (
    ENVIRONMENT,
    PROBE,
    PROFILES,
    Profile,
    bwrap_command,
    bwrap_programs,
    system_call_filter,
    worker_command,
    worker_settings,
)

PROGRAMS_PER_WORKER = 500
ATTEMPTS = 3
"""How often a program is tried before a fault of the sandbox becomes its outcome."""
START_SECONDS = 20.0
"""Longest start of a worker, on a busy machine; 0.05 s on an idle one."""
MAX_SOURCE = 262_144
"""Largest program that goes to a worker where the gate is off, in bytes."""

_HEAD = struct.Struct("!iid?")  # worker.HEAD
_BROKEN = (OSError, ValueError, EOFError)


class Worker:
    """One worker process: started, asked one program at a time, replaced when it may not be trusted any more."""

    def __init__(self, profile: Profile, settings: bytes, bwrap: str | None) -> None:
        self.profile, self.settings, self.bwrap = profile, settings, bwrap
        self.process: subprocess.Popen[bytes] | None = None
        self.landlock = 0
        self.served = 0
        self._received = bytearray()

    def start(self) -> None:
        """Start the process and wait until it is ready.

        Raises:
            OSError, ValueError, EOFError: It did not come up; the message holds the end of what it wrote.
        """
        self.stop()
        self._received.clear()
        self.served = 0
        with tempfile.TemporaryFile() as errors:
            self.process = self._spawn(errors)
            os.set_blocking(self._pipes[1].fileno(), False)
            try:
                self._write(self.settings)
                reply = self._await(time.monotonic() + START_SECONDS)
                self.landlock = int(reply.split(b":")[1].rstrip(b"}"))
            except (*_BROKEN, IndexError) as error:
                self.stop()
                errors.seek(0)
                said = errors.read()[-400:].decode(errors="replace").strip()
                raise OSError(said or f"the worker did not start: {error!r}") from error

    def _spawn(self, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, "bufsize": 0}
        if self.profile != "bwrap":
            return subprocess.Popen(worker_command(), env=ENVIRONMENT, cwd="/", start_new_session=True, **pipes)
        assert self.bwrap is not None
        with tempfile.TemporaryFile() as code:
            code.write(system_call_filter("worker"))
            code.seek(0)
            command = bwrap_command(self.bwrap, code.fileno())
            return subprocess.Popen(command, env={}, cwd="/", pass_fds=(code.fileno(),), **pipes)

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        return self.process.stdin, self.process.stdout

    def _write(self, data: bytes) -> None:
        data = len(data).to_bytes(4, "big") + data
        while data:
            data = data[self._pipes[0].write(data) :]

    def _await(self, deadline: float) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self.fileno(), selectors.EVENT_READ)
            while (frame := self.receive()) is None:
                if not selector.select(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    raise ValueError("no answer in time")
            return frame

    def fileno(self) -> int:
        """The descriptor that becomes readable when there is an answer."""
        return self._pipes[1].fileno()

    def send(self, source: bytes) -> None:
        """Give the worker a program to run."""
        self.served += 1
        self._write(source)

    def receive(self) -> bytes | None:
        """The worker's frame if all of it has arrived, else None; never waits.

        Raises:
            EOFError: The worker has gone.
            ValueError: It sent more than a reply can hold.
        """
        while True:
            try:
                more = os.read(self.fileno(), 65_536)
            except BlockingIOError:
                break
            if not more:
                raise EOFError("the worker ended")
            self._received += more
            if len(self._received) > MAX_RECORD + 1024:
                raise ValueError("the worker sent too much")
        if len(self._received) < 4:
            return None
        size = int.from_bytes(self._received[:4], "big")
        if size > MAX_RECORD + _HEAD.size:
            raise ValueError("the worker announced too much")
        if len(self._received) < 4 + size:
            return None
        if len(self._received) > 4 + size:
            raise ValueError("the worker answered twice")
        frame = bytes(self._received[4:])
        self._received.clear()
        return frame

    def stop(self) -> None:
        """Kill the process; its namespace (bwrap) or its death signal (seccomp) takes the program with it."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


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
        workers: Programs at a time; by default one fewer than there are cores, and at least one.
        wall_seconds: Longest a program may take by the clock on the wall.
        cpu_seconds: Processor seconds after which it is stopped; one more, and it is killed.
        memory_mb: Address space of a program, Python's own 30 MB included.
        gate: False runs what the gate would refuse: for tests of the wall behind it.

    Raises:
        UserError: No profile works here, or the one that was asked for does not; says why for each.

    Source: PaD specification, section 9.3.
    """

    def __init__(
        self,
        profile: Literal["auto"] | Profile = "auto",
        workers: int | None = None,
        wall_seconds: float = 4.0,
        cpu_seconds: int = 2,
        memory_mb: int = 512,
        gate: bool = True,
    ) -> None:
        self.wall_seconds, self.gate = wall_seconds, gate
        chosen = probe() if profile == "auto" else profile
        self._profile, bwrap = _resolve(chosen)
        settings = worker_settings(self._profile, cpu_seconds=cpu_seconds, memory_mb=memory_mb, most=MAX_RECORD)
        number = max(1, len(os.sched_getaffinity(0)) - 1) if workers is None else workers
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

        Reads `programs` a little ahead. One call at a time; after an abandoned one, the workers are started anew.
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
        alone: deque[_Job] = deque()  # ran out of time once: once more, with nothing beside
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
            done[index] = Execution(Outcome.REJECTED, rule)

    def _dispatch(
        self, number: int, job: _Job, busy: dict[int, tuple[_Job, float]], done: dict[int, Execution]
    ) -> None:
        worker = self._pool[number]
        while True:
            try:
                if worker.process is None or worker.served >= PROGRAMS_PER_WORKER:
                    worker.start()
                worker.send(job.source)
            except _BROKEN as error:
                worker.stop()
                job.faults += 1
                if job.faults >= ATTEMPTS:
                    done[job.index] = Execution(Outcome.SANDBOX_ERROR, message=str(error)[:500])
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
                    execution = Execution(Outcome.TIMEOUT_WALL, seconds=self.wall_seconds)
                else:
                    execution = self._read(frame)
            except _BROKEN as error:
                execution = Execution(Outcome.SANDBOX_ERROR, message=str(error)[:500])
            del busy[number]
            if execution.outcome in _DISTRUSTED:
                worker.stop()
            if execution.outcome == Outcome.SANDBOX_ERROR and job.faults + 1 < ATTEMPTS:
                job.faults += 1
                waiting.appendleft(job)
            elif execution.timed_out and job.timeouts == 0:
                job.timeouts = 1
                alone.append(job)
            else:
                done[job.index] = execution

    def _read(self, frame: bytes) -> Execution:
        if len(frame) < _HEAD.size:
            raise ValueError("the worker's answer is too short")
        ended_by, code, seconds, over = _HEAD.unpack(frame[: _HEAD.size])
        if seconds > self.wall_seconds:  # it ended while nobody watched
            return Execution(Outcome.TIMEOUT_WALL, seconds=seconds)
        return execution_of(frame[_HEAD.size :], signal_number=ended_by, exit_code=code, over=over, seconds=seconds)


_DISTRUSTED = (Outcome.TIMEOUT_CPU, Outcome.TIMEOUT_WALL, Outcome.KILLED, Outcome.OUTPUT_LIMIT, Outcome.SANDBOX_ERROR)
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
            frame = worker._await(time.monotonic() + START_SECONDS)
        finally:
            worker.stop()
    except UserError as error:
        return error.problem
    except _BROKEN as error:
        return str(error)
    ended_by, code, seconds, over = _HEAD.unpack(frame[: _HEAD.size])
    run = execution_of(frame[_HEAD.size :], signal_number=ended_by, exit_code=code, over=over, seconds=seconds)
    if run.value == "nothing":
        return None
    return f"a test program could {run.value}" if run.outcome == Outcome.OK else f"a test program gave {run.label}"
