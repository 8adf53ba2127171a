"""Any endpoint that speaks OpenAI's protocol, hosted or a vLLM server: concurrent requests, retries, usage.

The key comes from the environment variable that the model names, and is never written or logged. Timeouts, rate limits
and server errors are retried with growing pauses by the client library; a request that fails for good is not stored,
the others are. How many requests run at a time is a fact of the account (DISTILLERY_API_CONCURRENCY, default 16).
"""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import openai

from distillery.errors import UserError
from distillery.files import read_json
from distillery.sampling.backends.base import Generated, PendingRequest
from distillery.sampling.logprobs import encode_choice
from distillery.sampling.requests import Series

logger = logging.getLogger(__name__)

RETRIES = 8
TIMEOUT_SECONDS = 300.0
FINISH = {"length": "length", "content_filter": "refused"}
TOP = 20
"""Log-probabilities requested with a choice, the most that hosted endpoints give."""


class ApiBackend:
    """An endpoint; `folder` holds `api.json`, which says which."""

    def __init__(self, folder: Path) -> None:
        self._model = read_json(folder / "api.json")
        variable = self._model["key"]
        key = os.environ.get(variable) if variable else "none"
        if not key:
            raise UserError(
                f"model {self._model['id']} needs a key, and the environment has none",
                key=variable,
                remedy=f"Set the environment variable {variable}",
            )
        retries = int(os.environ.get("DISTILLERY_API_RETRIES", str(RETRIES)))
        self._client = openai.OpenAI(
            base_url=self._model["endpoint"], api_key=key, max_retries=retries, timeout=TIMEOUT_SECONDS
        )

    def generate(self, requests: Sequence[PendingRequest], series: Series) -> Iterator[Generated]:
        """Send all requests. Completions that came are yielded before an error is raised for those that failed.

        Raises:
            UserError: A request failed for good.
        """
        pool = ThreadPoolExecutor(int(os.environ.get("DISTILLERY_API_CONCURRENCY", "16")))
        failed: list[openai.OpenAIError] = []
        try:
            waiting = [pool.submit(self._complete, pending, series) for pending in requests]
            for done in as_completed(waiting):
                try:
                    yield done.result()
                except openai.AuthenticationError:
                    raise UserError(
                        "the endpoint refuses the key",
                        key=self._model["key"],
                        value=self._model["endpoint"],
                        remedy="Check the key and the endpoint in config/models.yaml",
                    ) from None
                except openai.OpenAIError as error:
                    failed.append(error)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if failed:
            raise UserError(
                f"{len(failed)} of {len(requests)} requests failed for good; first: {failed[0]}",
                key=self._model["id"],
                value=self._model["endpoint"],
                remedy="Run again: what came back is in the store",
            )

    def _complete(self, pending: PendingRequest, series: Series) -> Generated:
        if series.scored:
            raise UserError("log-probabilities of texts are not requested from endpoints", key=self._model["id"])
        given: dict[str, Any] = {
            "model": self._model["id"],
            "temperature": series.temperature,
            "max_tokens": series.max_new_tokens,
        }
        if series.temperature > 0:
            given |= {"top_p": series.top_p, "seed": pending.seed}
            if series.top_k:
                given["extra_body"] = {"top_k": series.top_k}  # of vLLM's servers; hosted endpoints refuse it by name
        if series.stop:
            given["stop"] = list(series.stop)
        if series.choice:  # of vLLM's servers too
            given["extra_body"] = {**given.get("extra_body", {}), "structured_outputs": {"choice": list(series.choice)}}
        likely: dict[str, float] = {}
        if pending.request.special_tokens:
            more: dict[str, Any] = {"logprobs": len(series.choice)} if series.choice else {}
            answer: Any = self._client.completions.create(prompt=pending.request.prompt, **given, **more)
            text = answer.choices[0].text
            if series.choice and answer.choices[0].logprobs:
                likely = (answer.choices[0].logprobs.top_logprobs or [{}])[0]
        else:
            more = {"logprobs": True, "top_logprobs": TOP} if series.choice else {}
            messages: Any = [{"role": "user", "content": pending.request.prompt}]
            answer = self._client.chat.completions.create(messages=messages, **given, **more)
            text = answer.choices[0].message.content
            if series.choice and answer.choices[0].logprobs and answer.choices[0].logprobs.content:
                likely = {top.token: top.logprob for top in answer.choices[0].logprobs.content[0].top_logprobs}
        if text in series.choice:
            text = encode_choice({name: likely[name] for name in series.choice if name in likely}, text)
        usage = answer.usage
        reason = answer.choices[0].finish_reason
        return Generated(
            key=pending.key,
            text=text or "",
            finish_reason=FINISH.get(reason, "stop"),
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
        )
