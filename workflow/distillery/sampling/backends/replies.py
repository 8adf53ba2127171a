"""What an endpoint sent back, read as one completion. An endpoint is untrusted and charges for every answer.

Whatever arrives gets a verdict: a text that ended by itself or at its limit, a refusal, or a failure that says what was
wrong. Nothing here raises on a strange answer, since it is paid for.

    finish_reason of the server           kept as
    stop, eos, end_turn, none given       stop
    length, max_tokens                    length
    content_filter, refusal, safety       refused; so is a `refusal` text
    tool calls, error, abort, all others  failed; so is an answer without content

Reasoning that a server keeps apart (`reasoning_content`, `reasoning`, parts of type `thinking`) is put before the
answer between `<think>` and `</think>`, the form in which local models write it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from distillery.tasks.reasoning import join_reasoning

ENDED = {"stop": "stop", "eos": "stop", "end_turn": "stop", "length": "length", "max_tokens": "length"}
REFUSED = {"content_filter", "refusal", "safety"}
MOST_TOKENS = 10_000_000
"""More tokens than this in one answer are a fault of the server's counting."""
CHARACTERS_PER_TOKEN = 4
"""For an estimate where a server does not count."""


class Reply(NamedTuple):
    """One answer. Token counts are the server's where it gives believable ones, else estimates."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    logprobs: dict[str, float]
    """Of the first token, where the request wanted them."""


def read_reply(body: object, prompt: str, *, chat: bool) -> Reply:
    """The answer in the JSON value that a server sent.

    Args:
        prompt: What was sent, for an estimate of its tokens.
        chat: Whether it came from the chat endpoint.
    """
    choice = _first_choice(body)
    usage = body.get("usage") if isinstance(body, Mapping) else None
    usage = usage if isinstance(usage, Mapping) else {}
    if choice is None:
        text, reason = "", "failed"
    else:
        text, reason = _chat(choice) if chat else _plain(choice)
    text = clean(text)
    return Reply(
        text=text,
        finish_reason=reason,
        prompt_tokens=_tokens(usage.get("prompt_tokens"), prompt),
        completion_tokens=_tokens(usage.get("completion_tokens"), text),
        logprobs={} if choice is None else _logprobs(choice.get("logprobs"), chat=chat),
    )


def clean(text: str) -> str:
    """Text that can be written as UTF-8: surrogate pairs are joined, lone ones become the replacement sign."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _first_choice(body: object) -> Mapping[str, Any] | None:
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not isinstance(choices, Sequence) or isinstance(choices, str) or not choices:
        return None
    return choices[0] if isinstance(choices[0], Mapping) else None


def _plain(choice: Mapping[str, Any]) -> tuple[str, str]:
    text = choice.get("text")
    return (text, _reason(choice)) if isinstance(text, str) else ("", "failed")


def _chat(choice: Mapping[str, Any]) -> tuple[str, str]:
    message = choice.get("message")
    if not isinstance(message, Mapping):
        return "", "failed"
    content = message.get("content")
    parts = content if isinstance(content, Sequence) and not isinstance(content, str) else []
    for place in (message, *parts):
        refusal = place.get("refusal") if isinstance(place, Mapping) else None
        if isinstance(refusal, str) and refusal:
            return refusal, "refused"
    answer, reasoning = _parts(content)
    for name in ("reasoning_content", "reasoning"):
        said, thought = _parts(message.get(name))
        reasoning = reasoning or (said or "") + thought
    text = join_reasoning(reasoning, answer or "")
    reason = _reason(choice)
    if message.get("tool_calls") or message.get("function_call"):
        return text, "failed"
    if answer is None and not reasoning and reason == "stop":
        return "", "failed"
    return text, reason


def _parts(content: object) -> tuple[str | None, str]:
    """(answer, reasoning) of a message's content, a text or a list of parts; answer None where there is no text."""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, Sequence):
        return None, ""
    answer: list[str] = []
    reasoning: list[str] = []
    for part in content:
        if isinstance(part, str):
            answer.append(part)
        elif isinstance(part, Mapping):
            thinks = part.get("type") in ("thinking", "reasoning", "reasoning_text")
            texts = (part[key] for key in ("text", "thinking", "content") if isinstance(part.get(key), str))
            (reasoning if thinks else answer).extend(list(texts)[:1])  # an image has none
    return "".join(answer) if answer else None, "".join(reasoning)


def _reason(choice: Mapping[str, Any]) -> str:
    said = choice.get("finish_reason")
    if said is None:
        return "stop"
    if not isinstance(said, str):
        return "failed"
    return ENDED.get(said, "refused" if said in REFUSED else "failed")


def _tokens(said: object, text: str) -> int:
    believable = isinstance(said, int | float) and not isinstance(said, bool) and math.isfinite(said)
    if believable and 0 <= said <= MOST_TOKENS:  # type: ignore[operator]  # narrowed by `believable`
        return int(said)  # type: ignore[call-overload]
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _logprobs(said: object, *, chat: bool) -> dict[str, float]:
    """Token -> log-probability at the first position; nothing from an answer of another shape."""
    found: dict[str, float] = {}
    try:
        if chat:
            for top in said["content"][0]["top_logprobs"]:  # type: ignore[index]
                found[str(top["token"])] = float(top["logprob"])
        else:
            for token, value in said["top_logprobs"][0].items():  # type: ignore[index]
                found[str(token)] = float(value)
    except (TypeError, KeyError, IndexError, ValueError, AttributeError):
        return {}
    return {token: value for token, value in found.items() if math.isfinite(value)}
