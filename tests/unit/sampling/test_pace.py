"""How fast an endpoint is asked, on a clock that a test sets: when each request starts, and when asking ends."""

from types import SimpleNamespace

import httpx2
import openai
import pytest

from distillery.sampling.backends.api import ApiBackend, Flight, RequestRefused, _retry_after
from distillery.sampling.backends.base import PendingRequest
from distillery.sampling.backends.pace import CircuitBreaker, Pace
from distillery.sampling.budget import Budget
from distillery.sampling.requests import Request, Series


class Time:
    """A clock and an event for stopping: waiting takes no time, is noted, and moves the clock."""

    def __init__(self) -> None:
        self.now, self.is_set = 100.0, False

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        assert seconds >= 0
        self.now += seconds
        return self.is_set


def starts(pace: Pace, time: Time, *tokens: int) -> list[float]:
    """Seconds from the first moment at which requests of that many tokens start."""
    found = []
    for amount in tokens:
        assert pace.start(amount)
        found.append(round(time.now - 100.0, 6))
    return found


@pytest.mark.parametrize(
    ("requests", "tokens", "amounts", "seconds"),
    [
        (None, None, [500, 500, 500], [0, 0, 0]),
        (30, None, [500, 500, 500], [0, 2, 4]),
        (None, 1000, [500, 250, 100], [0, 30, 45]),
        (30, 1000, [10, 500, 10, 10], [0, 2, 32, 34]),
    ],
)
def test_requests_start_no_faster_than_both_limits_allow(requests, tokens, amounts, seconds):
    time = Time()
    assert starts(Pace(requests, tokens, time, time), time, *amounts) == seconds


def test_a_pause_holds_requests_back_and_halves_the_speed_which_recovers_with_each_answer():
    time = Time()
    pace = Pace(60, None, time, time)
    pace.pause(10)
    assert starts(pace, time, 1, 1, 1) == [10, 12, 14], "one in two seconds, after ten"
    pace.succeeded()
    assert starts(pace, time, 1, 1) == [16, pytest.approx(16 + 2 / 1.05, abs=1e-6)]
    for _ in range(100):
        pace.succeeded()
    *_, second, third = starts(pace, time, 1, 1, 1)
    assert third - second == pytest.approx(1.0, abs=1e-5), "never faster than the limit"


def test_a_pause_is_at_most_two_minutes_and_a_shorter_one_does_not_end_it():
    time = Time()
    pace = Pace(None, None, time, time)
    pace.pause(1000)
    pace.pause(1)
    assert starts(pace, time, 1, 1) == [120, 120]


def test_many_pauses_slow_down_to_a_twentieth():
    time = Time()
    pace = Pace(60, None, time, time)
    for _ in range(20):
        pace.pause(0)
    assert starts(pace, time, 1, 1) == [0, 20]


def test_a_stopped_job_starts_nothing():
    time = Time()
    time.is_set = True
    assert Pace(None, None, time, time).start(1) is False


def test_five_refusals_in_a_row_for_one_reason_open_the_breaker():
    breaker = CircuitBreaker()
    assert (breaker.is_open, breaker.reason) == (False, "")
    for reason in ["a", "a", "a", "a", "b", "b", "b", "b"]:
        breaker.refused(reason)
        assert not breaker.is_open
    breaker.answered()
    assert breaker.reason == ""
    for count in range(5):
        assert not breaker.is_open, count
        breaker.refused("b")
    assert (breaker.is_open, breaker.reason) == (True, "b")
    breaker.answered()
    assert not breaker.is_open


@pytest.mark.parametrize(
    ("headers", "attempt", "seconds"),
    [
        ({"retry-after": "7"}, 0, 7.0),
        ({"retry-after": "0.5"}, 3, 0.5),
        ({"retry-after": "999"}, 0, 120.0),
        ({"retry-after": "-3"}, 0, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0, 0.5),
        ({}, 3, 4.0),
        ({}, 9, 30.0),
        (None, 1, 1.0),
    ],
)
def test_the_next_try_waits_as_the_server_says_or_longer_each_time(headers, attempt, seconds):
    error = openai.OpenAIError("busy")
    if headers is not None:
        error.response = httpx2.Response(429, headers=headers)
    assert _retry_after(error, attempt) == seconds


SERIES = Series("m", 0.0, 1.0, 0, max_new_tokens=10)


def pending(prompt: str) -> PendingRequest:
    return PendingRequest(prompt, Request(prompt, 0), 1)


def backend(**parts) -> ApiBackend:
    made = ApiBackend.__new__(ApiBackend)
    vars(made).update(
        {"_flying": {}, "_identity": "m", "_retries": 0, "_limit_field": "max_tokens", "_key": "", **parts}
    )
    return made


@pytest.mark.parametrize(("limit", "kind"), [(3, "samples"), (30, "tokens"), (52.0, "money")])
def test_a_request_is_sent_while_the_budget_affords_it_beside_those_under_way(tmp_path, monkeypatch, limit, kind):
    monkeypatch.setenv("DISTILLERY_PRICES", '{"m": [1e6, 1e6]}')  # 1 for each token of a prompt, 10 for each answer
    flying = {Flight(pending(prompt), SERIES): None for prompt in ("x" * 80, "x")}  # prompts of 20 tokens and of 1
    for most, affords in [(limit, True), (limit - 0.5, False)]:
        made = backend(_flying=flying, _budget=Budget({kind: most}, tmp_path / "ledger"))
        assert made._affords(pending("x"), SERIES) is affords


def test_the_pace_counts_the_tokens_of_the_prompt_and_the_most_of_the_answer():
    started = []
    pace = SimpleNamespace(start=lambda tokens: started.append(tokens), succeeded=None)
    with pytest.raises(RequestRefused, match="the job was stopped"):
        backend(_pace=pace)._answer(pending("x" * 9), SERIES)
    assert started == [3 + 10]
