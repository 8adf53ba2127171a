r"""Extraction: the one program in what a teacher wrote, or the reason why there is none.

Teachers wrap programs in Markdown fences, put sentences before and after, answer a second question on the way, or
refuse. The program's own text is kept as written; only lines around it go.

>>> extract("Here it is:\n\n```python\ndef solution():\n    return 7\n```\nIt returns 7.").program
'def solution():\n    return 7\n'
>>> extract("As an AI language model, I cannot solve this.").problem
'refused'

A program that does not parse is a program: running it says `syntax`, which a model can be told.
"""

import ast
import hashlib
import re
import sys
import textwrap
from dataclasses import dataclass
from typing import Literal

from distillery.programs.gate import POLICY_VERSION
from distillery.programs.syntax import Unparsable, parse

Problem = Literal["refused", "no_program", "two_solutions", "too_long"]

MAX_TEXT = 65_536
"""Longest completion that is searched, in characters; the longest real ones have 4,000."""

REFUSALS = (
    *("as an ai language model", "as a language model", "i'm sorry", "i am sorry", "i cannot", "i can't"),
    *("i am unable", "i'm unable", "sorry,", "unable to answer", "not enough information", "not possible to"),
    *("please provide", "cannot be determined", "additional information"),
)
"""What a text without a program is called a refusal for, lower case."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was found in a completion: a program or a problem, never both."""

    program: str | None
    problem: Problem | None


def extract(text: str) -> Extracted:
    """The program in a completion, without the question that it may repeat in a docstring.

    Exactly one function `solution` may be defined at the outer level; the same one twice is one. Two different ones
    are `two_solutions`, whichever comes last: in the released teacher data the last one answered another question and
    passed the filter by accident.

    Source: PaD specification, sections 1.2 and 1.3; the released code takes the whole text.
    """
    if len(text) > MAX_TEXT:
        return Extracted(None, "too_long")
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", "")
    found: dict[str, str] = {}
    for block in _blocks(text):
        for program in _programs(block):
            program = without_docstring(program)
            found.setdefault(normalise(program), program)
    if len(found) > 1:
        return Extracted(None, "two_solutions")
    for program in found.values():
        return Extracted(program, None)
    said = text.lower().replace("\u2019", "'")
    return Extracted(None, "refused" if any(phrase in said for phrase in REFUSALS) else "no_program")


def without_docstring(source: str) -> str:
    """`source` without the docstring of `solution`; the text as it was if it does not parse.

    By the syntax tree: the released code removes what stands between triple double quotes by a regular expression,
    which fails on a question that holds a double quote.
    """
    try:
        tree = parse(source)
    except Unparsable:
        return source
    lines = source.encode().splitlines(keepends=True)  # columns of syntax trees count bytes
    for node in reversed(tree.body):
        if not isinstance(node, ast.FunctionDef) or node.name != "solution" or len(node.body) < 2:
            continue
        first, second = node.body[0], node.body[1]
        if not isinstance(first, ast.Expr) or not isinstance(first.value, ast.Constant):
            continue
        if not isinstance(first.value.value, str) or second.lineno == first.end_lineno or first.lineno == node.lineno:
            continue  # on one line with other code: no line to take out
        assert first.end_lineno is not None
        del lines[first.lineno - 1 : first.end_lineno]
    return b"".join(lines).decode()


def normalise(source: str) -> str:
    """The program as the syntax tree prints it, docstrings and comments gone: equal programs, equal text.

    Text that does not parse is normalised by its white space only.
    """
    try:
        tree = parse(source)
    except Unparsable:
        return "\n".join(line.rstrip() for line in source.strip().splitlines())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            first = node.body[0] if node.body else None
            if not isinstance(first, ast.Expr) or not isinstance(first.value, ast.Constant):
                continue
            if isinstance(first.value.value, str):
                node.body[:1] = [] if isinstance(node, ast.Module) or len(node.body) > 1 else [ast.Pass()]
    return ast.unparse(tree)


def cache_key(source: str) -> str:
    """Identity of a result: program, Python version and policy; hex, 32 digits (PaD specification, section 9.4)."""
    identity = "\0".join((normalise(source), ".".join(map(str, sys.version_info[:3])), str(POLICY_VERSION)))
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]


_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`]*$", re.M)
_SOLUTION = re.compile(r"^([ \t]*)def[ \t]+solution\b", re.M)
_TOP = re.compile(
    r"(?:def|class|import|from)\s+[\w.]+(?:\s*[(:,]|\s+import\b|\s+as\b|\s*$)|@\w|#|\w+(?:\s*,\s*\w+)*\s*=[^=]"
)
"""How a line of code begins that may stand right above a definition; a sentence does not."""


def _blocks(text: str) -> list[str]:
    """Fenced blocks that define a solution; without any, the whole text. The last fence may be missing."""
    marks = list(_FENCE.finditer(text))
    blocks, number = [], 0
    while number < len(marks):
        begin = marks[number]
        end = next((m for m in marks[number + 1 :] if m[1][0] == begin[1][0] and len(m[1]) >= len(begin[1])), None)
        blocks.append(text[begin.end() : end.start() if end else len(text)].strip("\n") + "\n")
        number = marks.index(end) + 1 if end else len(marks)
    return [block for block in blocks if _SOLUTION.search(block)] or [_FENCE.sub("", text)]


def _programs(block: str) -> list[str]:
    """Programs in a block: all of it where it is Python, else each `def solution` with the code lines around it."""
    starts = list(_SOLUTION.finditer(block))
    if not starts:
        return []
    try:
        tree = parse(textwrap.dedent(block))
    except Unparsable:
        pass
    else:
        if sum(isinstance(node, ast.FunctionDef) and node.name == "solution" for node in tree.body) == 1:
            return [textwrap.dedent(block).strip("\n") + "\n"]
    outer = min(len(match[1].expandtabs()) for match in starts)
    lines = block.splitlines()
    numbers = [block.count("\n", 0, match.start()) for match in starts if len(match[1].expandtabs()) == outer]
    return [_around(lines, number, numbers[place - 1] if place else -1, outer) for place, number in enumerate(numbers)]


def _around(lines: list[str], start: int, previous: int, indent: int) -> str:
    """The definition at line `start` with what belongs to it: code right above it, and the indented lines below."""
    first = start
    while first - 1 > previous:
        above = lines[first - 1]
        inner = len(above.expandtabs()) - len(above.expandtabs().lstrip()) > indent
        if previous >= 0 and (inner or not above.strip()):
            break  # the end of the program before
        if above.strip() and not inner and not _TOP.match(above.strip()):
            break
        first -= 1
    last = start + 1
    while last < len(lines):
        line = lines[last].expandtabs()
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        last += 1
    return textwrap.dedent("\n".join(lines[first:last])).strip("\n").rstrip() + "\n"
