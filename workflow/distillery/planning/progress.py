"""Progress of a run for people: one line for each job, with what it does, for which arm, and when it should end.

    13:41:07   31 of 55 done   train             mentor-kd, smollm2-135m-half, seed 1      until 13:44

Expected seconds are those of `distillery plan --write`, by output. A job that the plan does not know has no end.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distillery.errors import UserError
from distillery.files import read_json

FORECAST = Path("work", "forecast.json")
"""Output -> expected seconds of the job that makes it."""

WORTH_SAYING = 5.0
"""Seconds from which the end of a job is printed."""

FOLLOWS_FROM_OTHERS = frozenset({"task", "setup", "split"})
"""Wildcards that are the same for nearly all jobs of a run."""


class Progress:
    """What a terminal shows of a run."""

    def __init__(self, forecast: Mapping[str, float]) -> None:
        self.forecast = forecast
        self.done = 0
        self.total = 0

    def started(self, rule: str, wildcards: Mapping[str, str], outputs: list[str], now: float) -> str:
        """The line of a job that starts.

        Args:
            outputs: Its files; the first that the forecast knows says how long it takes.
            now: Seconds since the epoch.
        """
        seconds = next((self.forecast[path] for path in outputs if path in self.forecast), 0.0)
        until = f"until {_clock(now + seconds, short=True)}" if seconds >= WORTH_SAYING else ""
        done = f"{self.done:>3} of {self.total} done"
        return f"{_clock(now)}  {done}   {rule:<18} {_subject(wildcards):<52} {until}".rstrip()

    def failed(self, rule: str, wildcards: Mapping[str, str], logs: list[str], now: float) -> str:
        """The line of a job that failed: where a person reads why."""
        return f"{_clock(now)}  {'FAILED':>14}   {rule:<18} {_subject(wildcards):<52} log: {', '.join(logs)}"


def read_forecast(path: Path = FORECAST) -> dict[str, float]:
    """Expected seconds by output; empty where no plan was written, or where the file is damaged."""
    try:
        content = read_json(path)
    except (OSError, ValueError, UserError):
        return {}
    known = content.items() if isinstance(content, dict) else ()
    return {str(name): float(seconds) for name, seconds in known if isinstance(seconds, int | float)}


def _subject(wildcards: Mapping[str, Any]) -> str:
    """What a job is about, from its wildcards."""
    words = [
        f"seed {value}" if name == "seed" else str(value)
        for name, value in wildcards.items()
        if name not in FOLLOWS_FROM_OTHERS
    ]
    return ", ".join(words) or ", ".join(map(str, wildcards.values()))


def _clock(now: float, *, short: bool = False) -> str:
    return time.strftime("%H:%M" if short else "%H:%M:%S", time.localtime(now))
