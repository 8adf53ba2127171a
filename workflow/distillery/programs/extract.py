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
import logging
import re
import textwrap
from dataclasses import dataclass
from typing import Literal

from distillery.programs.syntax import Unparsable, parse, unparse
from distillery.tasks.reasoning import split_reasoning

Problem = Literal["refused", "no_program", "two_solutions", "too_long", "unreadable"]
"""Why there is no program. `unreadable`: looking for it raised, which is a fault of ours; it is logged."""

LOG = logging.getLogger(__name__)

MAX_TEXT = 65_536
"""Longest answer that is searched, in characters, without the thinking before it; the longest real ones have 4,000."""

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

    No text raises: it is in the store, and would end the job again on every run.

    Source: PaD specification, sections 1.2 and 1.3; the released code takes the whole text.
    """
    try:
        text = split_reasoning(text).answer  # programs in the thinking are drafts
        if len(text) > MAX_TEXT:
            return Extracted(None, "too_long")
        return _extract(text)
    except Exception:
        LOG.warning("a completion of %d characters cannot be searched for a program", len(text), exc_info=True)
        return Extracted(None, "unreadable")


def _extract(text: str) -> Extracted:
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

    Text that does not parse, or that Python cannot print, is normalised by its white space only.
    """
    try:
        return unparse(_without_docstrings(parse(source)))
    except Unparsable:
        return "\n".join(line.rstrip() for line in source.strip().split("\n"))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            first = node.body[0] if node.body else None
            if not isinstance(first, ast.Expr) or not isinstance(first.value, ast.Constant):
                continue
            if isinstance(first.value.value, str):
                node.body[:1] = [] if isinstance(node, ast.Module) or len(node.body) > 1 else [ast.Pass()]
    return tree


_SOLUTION = re.compile(r"^([ \t]*)def[ \t]+solution\b", re.M)
_TOP = re.compile(
    r"(?:def|class|import|from)\s+[\w.]+(?:\s*[(:,]|\s+import\b|\s+as\b|\s*$)|@\w|#|\w+(?:\s*,\s*\w+)*\s*=[^=]"
)
"""How a line of code begins that may stand right above a definition; a sentence does not."""


def _fence(line: str) -> str:
    """The signs of a Markdown fence (at least three backticks or tildes) if the line is one, else an empty text."""
    stripped = line.lstrip(" \t")
    sign = stripped[:1]
    if sign not in ("`", "~"):
        return ""
    rest = stripped.lstrip(sign)
    signs = stripped[: len(stripped) - len(rest)]
    return signs if len(signs) >= 3 and "`" not in rest else ""


def _blocks(text: str) -> list[str]:
    """Fenced blocks that define a solution; without any, the text without its fences. The last fence may be missing.

    A fence ends with one of the same sign that is at least as long. One pass over the lines: a model may write tens of
    thousands of fences.
    """
    blocks: list[list[str]] = []
    outside: list[str] = []
    opened = ""
    for line in text.split("\n"):
        fence = _fence(line)
        if not fence:
            (blocks[-1] if opened else outside).append(line)
        elif not opened:
            opened = fence
            blocks.append([])
        elif fence[0] == opened[0] and len(fence) >= len(opened):
            opened = ""
        else:
            blocks[-1].append(line)
    fenced = ["\n".join(lines).strip("\n") + "\n" for lines in blocks]
    whole = "\n".join("" if _fence(line) else line for line in text.split("\n"))
    return [block for block in fenced if _SOLUTION.search(block)] or [whole]


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
    outer = min(_width(match[1]) for match in starts)
    lines = block.split("\n")
    numbers = [
        number for number, line in enumerate(lines) if (match := _SOLUTION.match(line)) and _width(match[1]) == outer
    ]
    return [_around(lines, number, numbers[place - 1] if place else -1, outer) for place, number in enumerate(numbers)]


def _width(indent: str) -> int:
    return len(indent.expandtabs())


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
