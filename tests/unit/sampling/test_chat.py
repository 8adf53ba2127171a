"""Chat templates of models: the text of transformers, within limits, and the same each day."""

import importlib.util
import re
import time
from pathlib import Path

import pytest

from distillery.config.model import RandomModel
from distillery.errors import UserError
from distillery.sampling.chat import FUNCTIONS, bounded_template, chat_wrapper, on_the_day

pytestmark = pytest.mark.reliability("data-file")

CHAT = "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}{{ '[assistant]' if add_generation_prompt }}"
CONVERSATIONS = [
    [{"role": "user", "content": "What is 2 + 2?\n"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
]


def released_templates() -> list[Path]:
    trl = importlib.util.find_spec("trl")  # importing it takes many seconds
    if trl is None:
        pytest.skip("TRL, which brings the templates, is not installed")
    return sorted(Path(trl.origin).parent.rglob("*.jinja"))[::2]


def test_the_bounded_rendering_of_released_chat_templates_is_that_of_transformers():
    from transformers.utils.chat_template_utils import render_jinja_template

    compared = 0
    for path in released_templates():
        template = path.read_text(encoding="utf-8")
        bounded = bounded_template(template)
        for messages in CONVERSATIONS:
            fields = {"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True}
            try:
                ((text,), _) = render_jinja_template(
                    [messages], chat_template=template, strftime_now=on_the_day, **fields
                )
            except Exception:  # this model takes no system message
                continue
            fields |= {"messages": messages, "tools": None, "documents": None, **FUNCTIONS}
            assert bounded.render(fields) == text, path.name
            compared += 1
    assert compared > 25


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from distillery.models.tiny import random_model

    path = tmp_path_factory.mktemp("tiny")
    random_model(RandomModel(kind="random", layers=1, hidden_size=32), path)
    return path


def wrapped(folder, template: str, text: str = "2 + 2?") -> str:
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return chat_wrapper(folder)(text)


def test_a_question_is_wrapped_in_the_words_of_the_model(folder):
    assert wrapped(folder, CHAT) == "[user] 2 + 2?[assistant]"


def test_the_clock_of_a_template_shows_one_day(folder, monkeypatch):
    shown = wrapped(folder, "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}")
    assert shown == "26 Jul 2024" != time.strftime("%d %b %Y")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for a in range(10**6) %}{% for b in range(10**6) %}{% endfor %}{% endfor %}", "more than 10,000 numbers"),
        ("{% if 'Tom' in messages[0].content %}{{ 'x' * 10**12 }}{% endif %}", "more than 10,000,000 characters"),
        ("{{ [1, 2]|random }}", "No filter named 'random'"),
        ("{{ lipsum() }}", "'lipsum' is undefined"),
        ("{{ messages[0].content.split }}", "an address in memory"),
        ("{{ raise_exception('no such role') }}", "it refuses the conversation: no such role"),
        ("{{ strftime_now('%999999999d') }}", "a form of the date with a width"),
        ("{% include 'x' %}", "no loader"),
        ("{{ x", "unexpected end of template"),
        ("{{ messages.0.nothing.more }}", "has no attribute"),
    ],
)
def test_a_hostile_chat_template_is_refused_by_the_name_of_its_folder(folder, template, words):
    with pytest.raises(UserError, match=re.escape(words)) as refused:
        wrapped(folder, template, "Tom has 2 + 2?")
    assert f"{folder}: chat_template: " in str(refused.value) and "chat: false" in str(refused.value)
