"""One worker seen from outside: started inside the wall, asked one program at a time, killed with all that it started.

Nothing that it says is believed here: a frame has a largest size, and there is one frame per program, or the worker is
at fault (`BROKEN`) and its owner replaces it.
"""

import os
import selectors
import subprocess
import tempfile
import time
from typing import IO, Any

from distillery.programs.execution import MAX_RECORD
from distillery.programs.isolation import ENVIRONMENT, Profile, bwrap_command, system_call_filter, worker_command
from distillery.programs.worker import HEAD

START_SECONDS = 20.0
"""Longest start of a worker, on a busy machine; 0.05 s on an idle one."""
BROKEN = (OSError, ValueError, EOFError)
"""What a worker that is at fault raises."""


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
                reply = self.wait(time.monotonic() + START_SECONDS)
                self.landlock = int(reply.split(b":")[1].rstrip(b"}"))
            except (*BROKEN, IndexError) as error:
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

    def wait(self, deadline: float) -> bytes:
        """The worker's next frame.

        Raises:
            EOFError, ValueError: As `receive`; and if there is none by `deadline`, a time of `time.monotonic`.
        """
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
        if size > MAX_RECORD + HEAD.size:
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
