r"""Reasoning models: what a completion thinks before its answer, and the answer itself.

The store keeps both in one text, with the thinking between `<think>` and `</think>`, whoever wrote the tags: the model,
or `sampling.backends.replies` for a server that sends the thinking apart. This module is where they are split.

    <think> 3 + 2 </think> 5                     thinking, then the answer
    3 + 2 </think> 5                             the same: the chat template of some models ends with `<think>`
    <think> 3 </think> So <think> +2 </think> 5  the thinking is "3" and "+2", the answer "So  5"
    <think> 3 + 2                                thinking without an end: there is no answer
    It prints <think> 5                          no thinking: the tag is a mention, as nothing closes it

>>> split_reasoning("<think>\n3 + 2\n</think>\n\nIt is 5.")
Split(thinking='3 + 2', answer='It is 5.', closed=True)
>>> split_reasoning("<think>\n3 + 2, so 5, or").closed
False

`<thinking>` and `[THINK]` are read like `<think>`. What it does not do: find thinking that no tag marks.
"""

import re
from typing import NamedTuple

from distillery.config.base import TaughtPart
from distillery.tasks.prompts import Renderer

THINK, END_THINK = "<think>", "</think>"
_TAG = re.compile(
    r"(?P<line>^[ \t]*+)?(?:<(?P<slash>/?)(?:[Tt]hink(?:ing)?|THINK(?:ING)?)>|\[(?P<bar>/?)THINK\])", re.M
)


class Split(NamedTuple):
    """A completion's two parts. A text without thinking is its own answer, unchanged."""

    thinking: str
    """Empty where there is none."""
    answer: str
    closed: bool
    """False: the text ends inside its thinking, so that it has no answer."""


def split_reasoning(text: str) -> Split:
    """Thinking and answer of a completion. The work grows with the length of the text; no text raises.

    An opening tag that is never closed counts at the start of a line alone.
    """
    if "hink" not in text and "HINK" not in text:
        return Split("", text, True)
    tags = list(_TAG.finditer(text))
    last_closing = max((tag.start() for tag in tags if _closes(tag)), default=-1)
    thinking: list[str] = []
    answer: list[str] = []
    place, inside = 0, False
    for tag in tags:
        if _closes(tag):
            # Without an opening tag all before it is thinking.
            thinking.append(text[place : tag.start()] if inside else "".join(answer) + text[place : tag.start()])
            answer = answer if inside else []
            inside = False
        elif not inside and (tag.start() < last_closing or tag["line"] is not None):
            answer.append(text[place : tag.start()])
            inside = True
        else:
            continue  # a mention
        place = tag.end()
    if not place:
        return Split("", text, True)
    (thinking if inside else answer).append(text[place:])
    parts = (part.strip() for part in thinking)
    return Split("\n\n".join(part for part in parts if part), "".join(answer).strip(), not inside)


def _closes(tag: re.Match[str]) -> bool:
    return bool(tag["slash"] or tag["bar"])


def join_reasoning(thinking: str, answer: str) -> str:
    r"""Thinking and answer in one text, as models with a reasoning mode write them; the answer alone without thinking.

    >>> join_reasoning("3 + 2", "It is 5.")
    '<think>\n3 + 2\n</think>\n\nIt is 5.'
    """
    return f"{THINK}\n{thinking.strip()}\n{END_THINK}\n\n{answer}" if thinking.strip() else answer


def with_opening(prompt: str, text: str) -> str:
    """The text with the `<think>` that the prompt ended with, so that a text cut inside its thinking shows it."""
    end = prompt[-64:].rstrip()  # not the whole: prompts are long
    opened = next((tag for tag in (THINK, "<thinking>", "[THINK]") if end.endswith(tag)), None)
    return text if opened is None or text.lstrip().startswith(opened) else f"{opened}\n{text}"


def taught_rationale(prompted: Renderer, text: str, taught: TaughtPart) -> str:
    """The part of a completion that a student learns as its rationale; empty where there is none.

    Args:
        prompted: The prompt of the completion: its delimiter ends the rationale in the answer part.
        taught: `reasoning`: the thinking, or the rationale of the answer where there is no thinking. `answer`: the
            rationale of the answer. `both`: the thinking between its tags, then the rationale of the answer.
    """
    parts = split_reasoning(text)
    written = prompted.rationale(parts.answer)
    if taught == "answer" or not parts.thinking:
        return written
    return parts.thinking if taught == "reasoning" else join_reasoning(parts.thinking, written).strip()
