"""Templates: the same text each time, within a fixed amount of work, or one fault that says why."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from distillery.rendering import ChatTemplates, TemplateFault, Templates

pytestmark = pytest.mark.reliability("data-file")

FIELDS = {
    "question": "How many, 2 and 3?\n",
    "answer": "He has <<1+1=2>>2.\n#### 1,025",
    "options": ["a", "b", "c"],
    "row": {"x": 1, "y": [1, 2]},
    "n": 3,
    "big": "x" * 1_000_000,
}
VALID = [
    "{{ question }}",
    "{{ answer.split('####')[-1] | trim }}",
    "{% for part in answer.split('####')[0].split('<<') %}{{ part.split('>>')[-1] }}{% endfor %}",
    "{% for x in options %}({{ 'ABC'[loop.index0] }}) {{ x }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for x in options if x != 'b' %}{{ x }}{{ loop.cycle('-', '+') }}{% else %}none{% endfor %}",
    "{% for key, value in row.items() %}{{ key }}={{ value }};{% endfor %}{{ row|tojson }}{{ row['y'][0] }}",
    "{% set parts = answer.split('#') %}{{ parts[0] ~ parts|last }}{% with a = 1 %}{{ a }}{% endwith %}",
    "{{ options|map('upper')|join('-') }}{{ options|reverse|list }}{{ range(4)|select('odd')|list }}",
    "{{ answer[:3] }}{{ answer[-2:] }}{{ n * 2 - 1 }}{{ 7 // 2 }}{{ 2 ** 10 }}{{ -n }}{{ '%s of %d' % ('a', n) }}",
    "{% if missing is defined %}x{% elif 'a' in options and n > 2 %}{{ missing|default('y') }}{% endif %}",
    "a\n\n{# note #}{% raw %}{{ x }}{% endraw %}\n{% if 1 %}\nb\n{% endif %}\n",
    "{{ question|replace('How', 'Why') }}{{ 'abc'.replace('b', 'xx') }}{{ ' '.join(options) }}{{ '<'|e }}{{ none }}",
]


@pytest.mark.parametrize("text", VALID)
def test_a_text_is_that_of_jinja(text):
    plain = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    assert Templates().template(text).render(FIELDS) == plain.from_string(text).render(FIELDS)


NOT_OF_THE_LANGUAGE = [
    "{{ [1, 2]|random }}", "{{ options|map('random') }}", "{{ now() }}", "{{ lipsum() }}", "{{ dict() }}",
    "{% set c = cycler('a', 'b') %}", "{% set n = namespace(x=1) %}", "{% macro f() %}{% endmacro %}",
    "{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{% block b %}{% endblock %}",
    "{% set x %}a{% endset %}", "{% call f() %}{% endcall %}", "{% filter upper %}a{% endfilter %}",
    "{% for a in row recursive %}{{ loop(a) }}{% endfor %}", "{{ 'a'|center(9) }}", "{{ 'a'.ljust(9) }}",
    "{{ '{}'.format(1) }}", "{{ question|attr('x') }}", "{{ options.append(1) }}", "{{ (question.split)() ~ self }}",
    "{{ question is sameas question }}", "{{ '\\ud800' }}", "{{ '\\ud83d' ~ '\\ude00' }}", "{{ 1e999 }}", "\ud800",
    "{{" + "(" * 3000 + "1" + ")" * 3000 + "}}", "{% if 1 %}" * 200 + "{% endif %}" * 200, "{{ " + "9" * 5000 + " }}",
    "x" * 100_001, "{{ x", "{% if %}", "{{ 'a'|no_such }}", "{% if 0 %}{{ 'a'|no_such }}{% endif %}",
]  # fmt: skip


@pytest.mark.parametrize("text", NOT_OF_THE_LANGUAGE, ids=lambda text: text[:40])
def test_what_may_draw_keep_state_or_not_compile_is_refused_before_it_is_rendered(text):
    with pytest.raises(TemplateFault):
        Templates().template(text)


TOO_MUCH = [
    "{% for a in range(10**9) %}{% endfor %}",
    "{% for a in range(9000) %}{% for b in range(9000) %}{% endfor %}{% endfor %}",
    "{% for a in range(99) %}{% for b in range(99) %}{{ n }}{{ n }}{% endfor %}{% endfor %}",
    "{% for a in big %}{% for b in big %}{% endfor %}{% endfor %}",
    "{% for a in range(9000) %}" + "y" * 2000 + "{% endfor %}",
    "{{ 'x' * 10**9 }}", "{{ 10**9 * [1] }}", "{{ 9**(9**9) }}", "{{ '%999999999d' % 1 }}", "{{ '%*d' % (10**9, 1) }}",
    "{% set a = 'x' %}" + "{% set a = a ~ a %}" * 60, "{% set a = ['x'] %}" + "{% set a = a + a %}" * 60,
    "{% set a = 'x' %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}", "{{ big|replace('x', big) }}",
    "{{ big.replace('x', big) }}",
    "{{ big|replace('', big) }}", "{{ big.join(big) }}", "{{ options|join(big * 9) }}", "{{ big|indent(10**9) }}",
    "{{ range(9000)|list|select('in', range(9000)|list)|list }}", "{{ range(9000)|map('replace', '1', big)|list }}",
    "{{ range(9000)|map('string')|map('truncate', 9, true, big * 0)|map('replace', '1', big)|join }}",
    "{{ [options]|sum(start=[]) }}", "{{ big * 11 }}", "{{ (big ~ big)|list }}",
]  # fmt: skip


@pytest.mark.parametrize("text", TOO_MUCH, ids=lambda text: text[:40])
@pytest.mark.parametrize("language", [Templates, ChatTemplates])
def test_a_template_without_end_ends_in_a_fault(text, language):
    template = language().template(text)
    with pytest.raises(TemplateFault):
        template.render(FIELDS)


@pytest.mark.parametrize(
    "text",
    ["{{ question.split }}", "{{ 'a' ~ question.split }}", "{{ [question.split]|string }}", "{{ range }}",
     "{{ options|map('map') }}", "{{ [options|map('map')]|join }}"],
)  # fmt: skip
def test_an_address_in_memory_is_no_text(text):
    with pytest.raises(TemplateFault, match="no text of its own"):
        Templates().template(text).render(FIELDS)


CHAT_ONLY = [
    "{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "{% macro f() %}xxxx{{ f() }}{% endmacro %}{{ f() }}",
    "{% set a %}x{% endset %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 60,
    "{% set n = namespace(a='x') %}{% for i in range(99) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
    "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{{ '{:>999999999}'.format(1) }}", "{{ '{:{}}'.format(1, 10**9) }}", "{{ 'a'.zfill(10**9) }}",
    "{{ '\\t'.expandtabs(10**9) }}",
    "{{ '%9999999d'|format(1) }}", "{{ 'a'.translate({97: big}) }}",
]  # fmt: skip


@pytest.mark.parametrize("text", CHAT_ONLY, ids=lambda text: text[:40])
def test_a_chat_template_without_end_ends_in_a_fault(text):
    template = ChatTemplates().template(text)
    with pytest.raises(TemplateFault):
        template.render(FIELDS)


PARTS = st.sampled_from(
    re.findall(
        r"\S+",
        "{{ }} {% %} for in if else endfor endif set = ( ) [ ] , . | ~ + * ** // % 'x' 9 10**9 a loop range(9) map "
        "join replace list question options is defined not and 'upper' .split .join - : { } <",
    )
)


def rendered(text: str) -> str | None:
    """The text of a template; None where it is refused, or an operation is one that its values do not have."""
    try:
        return Templates().template(text).render(FIELDS)
    except (TemplateFault, TemplateError, TypeError, ValueError, ArithmeticError, AssertionError):
        return None


@pytest.mark.reliability("data-file", cases=100)
@given(st.lists(PARTS, max_size=14).map(" ".join) | st.text(max_size=30))
def test_any_text_is_a_template_with_one_text_or_a_fault(text):
    first = rendered(text)
    assert first == rendered(text)
    assert " at 0x" not in (first or "")
