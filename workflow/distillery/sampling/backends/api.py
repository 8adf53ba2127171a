"""Any endpoint that speaks OpenAI's protocol, hosted or a vLLM server. It is untrusted, and it charges for each answer.

Every answer that arrives is handed over, whatever else fails: `generate` yields answers while they come, and
`answers_in_flight` gives those that were under way when the caller stopped (a spent budget, a fault, Ctrl-C).

- A request starts only if the budget affords it and all requests under way at their limits.
- Rate limits and server errors are retried, with the pause that the server asks for. After several refusals in a row
  for one reason (no such model, no quota) nothing more is sent.
- A response has a limit in size and in time. Redirects are refused: they would carry the key to another place.
- The key comes from the environment variable that the model names. It is removed from every text that comes back.

How many requests run at a time is a fact of the account (DISTILLERY_API_CONCURRENCY, default 16).
"""

import contextlib
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai

from distillery.errors import UserError
from distillery.files import read_json
from distillery.sampling.backends.base import Backend, Generated, PendingRequest
from distillery.sampling.backends.pace import CircuitBreaker, Pace
from distillery.sampling.backends.replies import CHARACTERS_PER_TOKEN, read_reply
from distillery.sampling.budget import Budget, price_of
from distillery.sampling.logprobs import encode_choice
from distillery.sampling.requests import Series

logger = logging.getLogger(__name__)

RETRIES = 8
CONCURRENCY = 16
RESPONSE_SECONDS = 600.0
"""Most seconds from the sending of a request to the last byte of its response."""
RESPONSE_BYTES = 16_000_000
DRAIN_SECONDS = 60.0
"""Most seconds that answers under way are waited for when a job stops."""
TOP_LOGPROBS = 20
"""Log-probabilities requested with a choice: the most that hosted endpoints give."""
FINAL = {400, 401, 402, 403, 404, 405, 410, 413, 422}
"""Statuses that another try does not change."""
NO_QUOTA = ("insufficient_quota", "billing", "quota exceeded", "exceeded your current quota")


class RequestRefused(Exception):
    """A request that failed for good; `reason` is what requests refused alike have in common."""

    def __init__(self, reason: str, message: str, *, key_refused: bool = False) -> None:
        self.reason, self.key_refused = reason, key_refused
        super().__init__(message)


class Flight:
    """A request under way. What becomes of it is written by the thread that sends it, which Ctrl-C does not reach."""

    def __init__(self, pending: PendingRequest, series: Series) -> None:
        self.pending, self.series = pending, series
        self.begun = False
        self.outcome: Generated | Exception | None = None


class ApiBackend(Backend):
    """An endpoint.

    Args:
        folder: Holds `api.json`: model, endpoint, variable of the key, rates.
        budget: Of the run; what is under way counts with its upper bound.
        identity: Of the model, for its price.
    """

    def __init__(self, folder: Path, budget: Budget, identity: str) -> None:
        self._model = read_json(folder / "api.json")
        self._budget, self._identity = budget, identity
        variable = self._model["key"]
        key = os.environ.get(variable) if variable else "none"
        if not key:
            raise UserError(
                f"model {self._model['id']} needs a key, and the environment has none",
                key=variable,
                remedy=f"Set the environment variable {variable}",
            )
        self._key = key
        self._stopped = threading.Event()
        rate = self._model.get("rate") or {}
        self._pace = Pace(rate.get("requests_per_minute"), rate.get("tokens_per_minute"), self._stopped)
        self._breaker = CircuitBreaker()
        self._retries = int(os.environ.get("DISTILLERY_API_RETRIES", str(RETRIES)))
        self._limit_field = "max_tokens"
        self._flying: dict[Flight, None] = {}
        """What was sent, oldest first. An answer leaves after it is stored: when `generate` is asked for the next."""
        self._drained_by: float | None = None
        self._landed: queue.SimpleQueue[Flight] = queue.SimpleQueue()
        self._client = openai.OpenAI(
            base_url=self._model["endpoint"],
            api_key=key,
            max_retries=0,
            timeout=httpx2.Timeout(RESPONSE_SECONDS, connect=30.0),
            http_client=httpx2.Client(
                event_hooks={"request": [_start], "response": [_bound]},
                follow_redirects=False,
                timeout=RESPONSE_SECONDS,
            ),
        )

    def generate(self, requests: Sequence[PendingRequest], series: Series) -> Iterator[Generated]:
        """Yield each answer when it arrives; stop early where the budget does not afford the rest.

        Raises:
            UserError: Requests failed for good; the answers that came are handed over first.
        """
        if series.scored:
            raise UserError("endpoints give no log-probabilities of whole texts", key=self._model["id"])
        most = int(os.environ.get("DISTILLERY_API_CONCURRENCY", str(CONCURRENCY)))
        waiting = list(reversed(requests))
        failed: list[RequestRefused] = []
        pool = ThreadPoolExecutor(most)
        try:
            while waiting or self._flying:
                while waiting and len(self._flying) < most and not self._breaker.is_open:
                    if not self._affords(waiting[-1], series):
                        break
                    flight = Flight(waiting.pop(), series)
                    self._flying[flight] = None
                    pool.submit(self._fly, flight)
                if not self._flying:
                    break
                flight = self._landed.get()
                if isinstance(flight.outcome, Generated):
                    self._breaker.answered()
                    yield flight.outcome  # the caller stores it, and then asks for the next
                elif isinstance(flight.outcome, RequestRefused):
                    failed.append(flight.outcome)
                    self._breaker.refused(flight.outcome.reason)
                    if flight.outcome.key_refused:
                        raise self._key_refused()
                elif flight.outcome is not None:
                    raise flight.outcome
                self._flying.pop(flight, None)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if failed:
            raise self._failure(failed, len(requests), unsent=len(waiting))

    def answers_in_flight(self) -> Iterator[Generated]:
        """Answers that the caller may not have when it stops; waits for those under way, but not for ever.

        The answer that was handed over last comes again if the caller did not ask for the next. After an interruption
        this can be called again: it gives what is left.
        """
        self._stopped.set()  # no more tries, no more pauses; a thread that begins now sends nothing
        if self._drained_by is None:
            self._drained_by = time.monotonic() + DRAIN_SECONDS
        while self._flying:
            for flight in list(self._flying):
                begun, outcome = flight.begun, flight.outcome  # the thread may change both at any time, in this order
                if isinstance(outcome, Generated):
                    yield outcome
                if outcome is not None or not begun:
                    self._flying.pop(flight, None)
            left = self._drained_by - time.monotonic()
            if self._flying and left <= 0:
                logger.warning("%d answers did not come within %.0f s: given up", len(self._flying), DRAIN_SECONDS)
                self._flying.clear()
            elif self._flying:
                with contextlib.suppress(queue.Empty):
                    self._landed.get(timeout=left)
        self._client.close()

    def _fly(self, flight: Flight) -> None:
        """Send one request, and write down what became of it. Runs in a thread.

        `begun` is set before `_stopped` is read, and `answers_in_flight` works in the other order: so either this
        thread sees that the job was stopped, or the job sees that this thread has begun.
        """
        flight.begun = True
        try:
            if self._stopped.is_set():
                raise RequestRefused("stopped", "the job was stopped")
            flight.outcome = self._answer(flight.pending, flight.series)
        except Exception as fault:
            flight.outcome = fault
        finally:
            self._landed.put(flight)

    def _affords(self, request: PendingRequest, series: Series) -> bool:
        """Whether the budget affords this request and all that are under way, each at its limit of tokens."""
        tokens = money = 0.0
        for pending in [request, *(flight.pending for flight in self._flying)]:
            prompt_tokens = -(-len(pending.request.prompt) // CHARACTERS_PER_TOKEN)
            tokens += series.max_new_tokens
            money += price_of(self._identity, prompt_tokens, series.max_new_tokens)
        return self._budget.affords(samples=1 + len(self._flying), tokens=tokens, money=money)

    def _answer(self, pending: PendingRequest, series: Series) -> Generated:
        """One answer, after as many tries as it takes. Runs in a thread."""
        body: Mapping[str, Any] | None = None
        expected = -(-len(pending.request.prompt) // CHARACTERS_PER_TOKEN) + series.max_new_tokens
        for attempt in range(self._retries + 1):
            if not self._pace.start(expected):
                raise RequestRefused("stopped", "the job was stopped")
            field = self._limit_field
            try:
                body = self._send(pending, series, field)
                break
            except openai.OpenAIError as error:
                self._after_fault(error, attempt, field)
        self._pace.succeeded()
        chat = not pending.request.special_tokens
        reply = read_reply(body, pending.request.prompt, chat=chat)
        text = self._without_key(reply.text)
        if text in series.choice:
            text = encode_choice({name: reply.logprobs[name] for name in series.choice if name in reply.logprobs}, text)
        return Generated(
            key=pending.key,
            text=text,
            finish_reason=reply.finish_reason,
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
        )

    def _send(self, pending: PendingRequest, series: Series, limit_field: str) -> Any:
        """The JSON value of one response; None for a response that is no JSON."""
        fields: dict[str, Any] = {"model": self._model["id"], "temperature": series.temperature}
        fields[limit_field] = series.max_new_tokens
        extra: dict[str, Any] = {}
        if series.temperature > 0:
            fields |= {"top_p": series.top_p, "seed": pending.seed}
            if series.top_k:
                extra["top_k"] = series.top_k  # vLLM's own; hosted endpoints refuse it by name
        if series.stop:
            fields["stop"] = list(series.stop)
        if series.choice:  # vLLM's own too
            extra["structured_outputs"] = {"choice": list(series.choice)}
        fields["extra_headers"] = {"Idempotency-Key": pending.key}  # a server that knows it charges a retry once
        if extra:
            fields["extra_body"] = extra
        endpoint: Any
        if pending.request.special_tokens:
            endpoint = self._client.completions
            fields |= {"prompt": pending.request.prompt} | ({"logprobs": len(series.choice)} if series.choice else {})
        else:
            endpoint = self._client.chat.completions
            fields["messages"] = [{"role": "user", "content": pending.request.prompt}]
            fields |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS} if series.choice else {}
        response = endpoint.with_raw_response.create(**fields)
        try:
            return json.loads(response.http_response.content)
        except (ValueError, RecursionError):
            return None

    def _after_fault(self, error: openai.OpenAIError, attempt: int, limit_field: str) -> None:
        """Return where another try makes sense.

        Raises:
            RequestRefused: It does not.
        """
        message = self._without_key(str(error))[:500]
        status = getattr(error, "status_code", None)
        if status == 400 and limit_field == "max_tokens" and "max_completion_tokens" in message:
            self._limit_field = "max_completion_tokens"  # newer hosted models refuse the older name
            return
        if status == 401:
            raise RequestRefused("key", message, key_refused=True)
        if status in FINAL or (status is not None and 300 <= status < 400):
            raise RequestRefused(f"status {status}", message)
        if status == 429 and any(words in message.lower() for words in NO_QUOTA):
            raise RequestRefused("no quota", message)
        if attempt >= self._retries:
            raise RequestRefused(f"status {status}" if status else type(error).__name__, message)
        if status == 429:
            self._pace.pause(_retry_after(error, attempt))
        elif self._stopped.wait(_retry_after(error, attempt)):
            raise RequestRefused("stopped", "the job was stopped")

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if len(self._key) >= 8 else text

    def _key_refused(self) -> UserError:
        return UserError(
            "the endpoint refuses the key",
            key=self._model["key"],
            value=self._model["endpoint"],
            remedy="Check the key and the endpoint in config/models.yaml",
        )

    def _failure(self, failed: list[RequestRefused], sent_for: int, unsent: int) -> UserError:
        given_up = f"; after {len(failed)} refusals alike the other {unsent} were not sent" if unsent else ""
        return UserError(
            f"{len(failed)} of {sent_for} requests failed for good{given_up}; first: {failed[0]}",
            key=self._model["id"],
            value=self._model["endpoint"],
            remedy="Run again: what came back is in the store",
        )


def _retry_after(error: openai.OpenAIError, attempt: int) -> float:
    """Seconds until the next try: what the server says, else a growing pause."""
    response = getattr(error, "response", None)
    said = response.headers.get("retry-after", "") if response is not None else ""
    try:
        seconds = float(said)
    except ValueError:
        seconds = min(0.5 * 2**attempt, 30.0)
    return min(max(seconds, 0.0), 120.0)


# Hooks, not a transport of our own: with one, httpx no longer obeys HTTP_PROXY, HTTPS_PROXY and NO_PROXY.


def _start(request: httpx2.Request) -> None:
    request.extensions["until"] = time.monotonic() + RESPONSE_SECONDS


def _bound(response: httpx2.Response) -> None:
    """Limit the bytes and the seconds of the whole response; its body is not read yet."""
    assert isinstance(response.stream, httpx2.SyncByteStream)
    response.stream = _Bounded(response.stream, response.request.extensions["until"])


class _Bounded(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream, until: float) -> None:
        self._stream, self._until = stream, until

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._stream:
            size += len(chunk)
            if size > RESPONSE_BYTES:
                raise httpx2.ReadError(f"the response is larger than {RESPONSE_BYTES:,} bytes")
            if time.monotonic() > self._until:
                raise httpx2.ReadTimeout(f"the response took longer than {RESPONSE_SECONDS:.0f} s")
            yield chunk

    def close(self) -> None:
        self._stream.close()
