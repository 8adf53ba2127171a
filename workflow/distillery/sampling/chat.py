"""Chat templates: a question in the words that a model's tokenizer puts around what a user says.

A chat template is a program that comes with a model. transformers runs it in a sandbox that sets no limit: it can loop
for days, fill the memory, or give another text each day. So each conversation is first rendered within limits
(`distillery.rendering.ChatTemplates`); only what ends there is rendered by transformers, whose text counts.
"""

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from distillery.errors import UserError
from distillery.rendering import ChatTemplates, Template, TemplateFault

DAY = datetime(2024, 7, 26)
"""What `strftime_now` of a template reads: the day that Llama 3's template shows where it has no clock. With today's
date a question would be another prompt each day."""

_ADDRESS = re.compile(r" at 0x[0-9a-f]+>")


def chat_wrapper(folder: Path) -> Callable[[str], str]:
    """What wraps a user's message in the chat template of a model folder, up to where the assistant speaks.

    Raises:
        UserError: The model has no chat template, or one that is not valid. The wrapper raises it where the template
            refuses the message, does too much work or shows an address in memory.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    try:
        bounded = bounded_template(tokenizer.get_chat_template())
    except (TemplateFault, ValueError) as error:
        raise _fault(error, folder) from error

    def wrap(text: str) -> str:
        messages = [{"role": "user", "content": text}]
        try:
            fields = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True}
            bounded.render({**tokenizer.special_tokens_map, **fields, **FUNCTIONS})
            wrapped = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, strftime_now=on_the_day
            )
        except Exception as error:  # a template may raise anything
            raise _fault(error, folder) from error
        if len(_ADDRESS.findall(wrapped)) > len(_ADDRESS.findall(text)):
            raise _fault("it shows an address in memory, which is another one in each run", folder)
        return wrapped

    return wrap


def bounded_template(text: str) -> Template:
    """A chat template that is rendered within limits; `FUNCTIONS` are fields that it needs.

    Raises:
        TemplateFault: It is not valid.
    """
    language = ChatTemplates(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"])
    language.filters["tojson"] = _tojson
    return language.template(text)


def on_the_day(form: str) -> str:
    """The one day of all runs, in a form of `strftime`."""
    if len(form) > 100 or re.search(r"%[^A-Za-z%-]", form):  # %999999999d has that many characters
        raise TemplateFault("a form of the date with a width")
    return DAY.strftime(form)


def _refuse(message: str) -> str:
    raise TemplateFault(f"it refuses the conversation: {message}")


FUNCTIONS = {"strftime_now": on_the_day, "raise_exception": _refuse}


def _tojson(x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False):
    if (indent or 0) not in range(17) or len(str(separators)) > 20:
        raise TemplateFault("tojson with a wide indent")
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _Generation(Extension):
    """The tag that marks what an assistant wrote; here it is its body."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _fault(problem: object, folder: Path) -> UserError:
    text = str(problem).removesuffix(".")
    return UserError(
        f"the chat template of this model fails: {text}",
        file=folder,
        key="chat_template",
        remedy="Correct the template, or use a prompt with `chat: false`",
    )
