"""The gate: ordinary programs pass, what arithmetic never needs is turned away by name, and no text harms it."""

import ast
import builtins
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.programs import gate
from distillery.programs.gate import refusal
from distillery.programs.syntax import Unparsable, parse

FUZZ = settings(max_examples=10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 500, deadline=None)


def body(line, head=""):
    return f"{head}def solution():\n    {line}\n    return 1\n"


PASSES = {
    "arithmetic": body("x = (3 + 4) * 2 ** 0.5 // 1"),
    "a loop over _": body("for _ in range(3): x = _"),
    "math": body("x = math.ceil(math.pi)", "import math\n"),
    "math under another name": body("x = m.sqrt(2)", "import math as m\n"),
    "from math": body("x = floor(2.5)", "from math import floor, sqrt\n"),
    "dates": body(
        "x = (datetime(2002, 3, 11) - timedelta(days=1)).strftime('%m/%d/%Y')",
        "from datetime import datetime, timedelta\n",
    ),
    "a module used inside": "def solution():\n    import math\n    return math.floor(2.5)\n",
    "helpers": "def half(x):\n    return x / 2\n\ndef solution():\n    return half(4)\n",
    "comprehensions and lambdas": body("x = sorted([i for i in {1, 2}], key=lambda i: -i)"),
    "format": body("x = '{:.2f} {name} {}'.format(2, 3, name=4) + f'{3:.2f}'"),
    "try": body("\n    try:\n        x = 1 / 0\n    except ZeroDivisionError as error:\n        x = error"),
    "other scripts in strings and comments": body("x = 'caf\u00e9 \u20ac'  # gr\u00f6\u00dfer"),
    "counting": body("x = Counter('abc').most_common(1)", "from collections import Counter\n"),
    "type of a value": body("x = type(3) is int"),
    "a main guard without names": body("x = 1") + "print(solution())\n",
}


@pytest.mark.parametrize("program", PASSES.values(), ids=PASSES)
def test_ordinary_programs_pass(program):
    assert refusal(program) is None


UNLISTED = (
    "eval exec compile open getattr setattr delattr vars globals locals input breakpoint dir help memoryview exit quit "
    "copyright credits license id hash object super property classmethod staticmethod aiter anext"
)
REBOUND = (
    "try:\n    1 / 0\nexcept ZeroDivisionError as solution:\n    pass\n",
    "match 3:\n    case solution:\n        pass\n",
    "match [3]:\n    case [*solution]:\n        pass\n",
    "match {}:\n    case {**solution}:\n        pass\n",
    "for solution in [1]: pass\n",
    "(solution := 3)\n",
    "del solution\n",
    "import math as solution\n",
)

REFUSED = [
    ("size", "#" * 9000),
    ("size", body(f"x = '{chr(0x20AC) * 3000}'")),
    ("encoding", body("x = '\u202e'")),
    ("encoding", "\ufeff" + body("x = 1")),
    ("encoding", body("x = 1") + "\0"),
    ("encoding", body("x = '\ud800'")),
    ("encoding", "# -*- coding: utf-7 -*-\n" + body("x = 1")),
    ("identifier", body("r\u0435sult = 1")),
    ("identifier", body("\uff45val('1')")),
    ("identifier", body("x = f'{r\u0435sult}'")),
    ("name", body("x = f'{\uff45val(1)}'")),
    ("nesting", body("x = " + "(" * 51 + "1" + ")" * 51)),
    ("nesting", body("x = " + "-" * 51 + "1")),
    ("nesting", body("x = " + "not " * 51 + "1")),
    ("nesting", body("x = " + "1+" * 3000 + "1")),
    ("nesting", body("x = a" + ".b" * 200)),
    ("solution", "x = 1\n"),
    ("solution", "def solution(x):\n    return x\n"),
    ("solution", "def solution(*x):\n    return x\n"),
    ("solution", "def solution(x=1):\n    return x\n"),
    ("solution", body("x = 1") * 2),
    ("solution", body("x = 1") + "solution = 5\n"),
    ("solution", body("x = 1") + "from math import floor as solution\n"),
    ("solution", "@print\n" + body("x = 1")),
    ("solution", "if 1:\n    def solution():\n        return 1\n"),
    ("import", body("import os")),
    ("import", body("import math, os")),
    ("import", body("import collections.abc")),
    ("import", body("from os import path")),
    ("import", body("from . import x")),
    ("module", body("from math import *")),
    ("module", body("from fractions import sys")),
    ("module", body("x = fractions.sys", "import fractions\n")),
    ("module", body("x = d.sys", "import datetime as d\n")),
    ("module", body("x = math", "import math\n")),
    ("module", body("math = 1", "import math\n")),
    ("attribute", body("x = collections._sys", "import collections\n")),
    ("attribute", body("x = ().__class__")),
    ("attribute", body("x = a._b")),
    ("attribute", body("x = g.gi_frame")),
    ("attribute", body("x = e.tb_next")),
    ("attribute", body("x = int.mro()")),
    ("attribute", body("x = f'{a.__class__}'")),
    *(
        ("syntax_node", body(f"\n    match 1:\n        case {pattern}: pass"))
        for pattern in ("int(__class__=c)", "int(real=r)", "str(format=f)", "datetime(now=n)", "[int()]")
    ),
    ("syntax_node", body("\n    with x as y: pass")),
    *(("name", body(f"x = {name}")) for name in UNLISTED.split()),
    ("name", body("id = 3")),
    ("name", body("x = __import__('os')")),
    ("name", body("x = __builtins__")),
    ("name", body("__x = 1")),
    ("name", body("def _f(): pass")),
    ("name", body("from math import floor as _f")),
    ("name", body("\n    match 1:\n        case __x: pass")),
    ("format", body("x = '{0.real}'.format(1)")),
    ("format", body("x = '{0[a]}'.format(1)")),
    ("format", body("x = '{:{w}}'.format(1, w=2)")),
    ("format", body("f = '{}'.format")),
    ("format", body("x = text.format(1)")),
    ("format", body("x = '{a}'.format_map(1)")),
    ("scope", body("global x")),
    ("scope", body("\n    def f():\n        nonlocal x")),
    ("exception_group", body("\n    try: pass\n    except* ValueError: pass")),
    ("async", "async def f(): pass\n" + body("x = 1")),
    ("async", body("\n    async def f(): return [i async for i in x]")),
    ("class", body("\n    class A: pass")),
    ("class", body("x = type('A', (), {})")),
    ("class", body("x = type")),
    ("class", body("x = type(int)('A', (), {})")),
    ("class", body("t = type(int)\n    x = t('A', (), {})")),
    ("class", body("x = [type(int)][0]('A', (), {})")),
    *(("solution", body("x = 1") + rebound) for rebound in REBOUND),
    ("clock", body("x = datetime.now()", "from datetime import datetime\n")),
    ("clock", body("x = datetime.date.today()", "import datetime\n")),
]


@pytest.mark.reliability("program")
@pytest.mark.parametrize(("rule", "program"), REFUSED, ids=[f"{r}-{n}" for n, (r, _) in enumerate(REFUSED)])
def test_what_arithmetic_never_needs_is_turned_away_by_name(rule, program):
    assert refusal(program) == rule


def test_only_listed_builtins_may_be_named():
    """Whatever a later Python adds is refused until somebody has looked at it."""
    names = [name for name in dir(builtins) if name != "_"]  # doctest leaves one there
    allowed = [name for name in names if refusal(body(f"x = {name}")) is None]
    assert set(allowed) <= gate.BUILTINS
    assert {"abs", "sum", "round", "ValueError", "sorted"} <= set(allowed)
    assert not set(allowed) & {"eval", "open", "id", "hash", "object", "type", "__import__"}


def test_a_kind_of_syntax_that_nobody_listed_is_refused(monkeypatch):
    monkeypatch.setattr(gate, "NODES", tuple(node for node in gate.NODES if node is not ast.While))
    assert refusal(body("while False: pass")) == "syntax_node"


def test_text_that_does_not_parse_passes_since_it_cannot_run():
    for text in ("def solution(:", "result =", "  x", "Sorry, no.", "(" * 40):
        assert refusal(text) is None


@pytest.mark.parametrize(
    "unit",
    ["(", "[x for x in ", "lambda:", "f(**", "not ", "1 if 1 else ", "{**", "x.", "1**", "a=", "1<", "f'{", "@a\n"],
)
def test_no_construct_repeated_to_the_limit_harms_the_parser(unit):
    for text in ((unit * 8192)[:8100], body("x = " + (unit * 8192)[:8000] + "x")):
        rule = refusal(text)
        assert rule is None or rule.isidentifier()


PIECES = st.one_of(
    st.sampled_from(["def solution():\n", "return ", "import math\n", "import os\n", "math", "eval", "__class__", "_"]),
    st.sampled_from(["match x:\n", "case ", "try:\n", "except* ", "class A", "global ", "async ", "    ", "\n", "x"]),
    st.sampled_from(["lambda ", '"""', "f'", *"()[]{}:'.=+-#\\1\0\u0435\ud800"]),
)


@pytest.mark.reliability("program", cases=FUZZ.max_examples)
@FUZZ
@given(st.one_of(st.lists(PIECES, max_size=120).map("".join), st.text(max_size=300)))
def test_any_text_gets_a_rule_or_none_and_never_an_exception(text):
    rule = refusal(text)
    assert rule is None or rule.isidentifier()
    if rule is None:
        assert not FORBIDDEN & names_in(text)


FORBIDDEN = {"__class__", "eval", "os"}


def names_in(text):
    """Names and attributes of a text; none if it does not parse."""
    try:
        tree = parse(text)
    except Unparsable:
        return set()
    return {getattr(node, key) for node in ast.walk(tree) for key in ("id", "attr", "name") if hasattr(node, key)}
