"""How fast an endpoint is asked: limits per minute, pauses that it asks for, and when to give up on it."""

import threading
import time
from collections.abc import Callable

MINUTE = 60.0
SLOWER, FASTER = 0.5, 1.05
LONGEST_PAUSE = 120.0
"""Seconds of the longest pause that a server may ask for."""
SAME_REFUSALS = 5
"""Requests in a row that are refused for one reason before the job stops asking."""


class Pace:
    """Lets requests start no faster than the limits allow. Safe to use from several threads.

    Args:
        requests_per_minute: Most requests that start in a minute; None: no limit.
        tokens_per_minute: Most tokens, of prompts and answers together; None: no limit.
        stopped: Ends all waiting when it is set.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
        stopped: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = [limit for limit in (requests_per_minute, tokens_per_minute) if limit is not None]
        self._counts_tokens = tokens_per_minute is not None
        self._counts_requests = requests_per_minute is not None
        self._free_at = [clock()] * len(self._limits)
        self._speed, self._paused_until = 1.0, clock()
        self._stopped, self._clock, self._lock = stopped, clock, threading.Lock()

    def start(self, tokens: int) -> bool:
        """Wait until a request of so many tokens may start; False when the job was stopped meanwhile."""
        with self._lock:
            now = self._clock()
            begin = max(now, self._paused_until, *self._free_at) if self._limits else max(now, self._paused_until)
            amounts = [1.0] * self._counts_requests + [float(tokens)] * self._counts_tokens
            for place, (limit, amount) in enumerate(zip(self._limits, amounts, strict=True)):
                self._free_at[place] = begin + MINUTE * amount / (limit * self._speed)
        return not self._stopped.wait(max(0.0, begin - now))

    def pause(self, seconds: float) -> None:
        """The server said that it is asked too fast: nothing starts for a while, and then more slowly."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + min(seconds, LONGEST_PAUSE))
            self._speed = max(self._speed * SLOWER, 0.05)

    def succeeded(self) -> None:
        """An answer came: the speed recovers slowly."""
        with self._lock:
            self._speed = min(1.0, self._speed * FASTER)


class CircuitBreaker:
    """Opens after several refusals in a row for one reason: the next requests would be refused too."""

    def __init__(self, same: int = SAME_REFUSALS) -> None:
        self._same, self._reason, self._count = same, "", 0

    def refused(self, reason: str) -> None:
        self._count = self._count + 1 if reason == self._reason else 1
        self._reason = reason

    def answered(self) -> None:
        self._reason, self._count = "", 0

    @property
    def is_open(self) -> bool:
        return self._count >= self._same

    @property
    def reason(self) -> str:
        return self._reason
