"""Parsing and printing programs of strangers without harm to the one who parses.

CPython's parser recurses in C and its trees nest as deep as the text. Bounds that keep both harmless, measured on
CPython 3.11: of 2,800 nested or repeated constructs, cut at 8 kB, none crashed and the slowest took 15 ms; the parser
answers what is too deep with an exception. So size is bounded first, and depth right after, before anything walks the
tree by recursion (`ast.unparse` does).

Printing a tree can fail where parsing did not: before Python 3.12 `ast.unparse` refuses f-strings that it cannot quote
(a nested string with U+00A0), and a hexadecimal literal may have more decimal digits than Python prints. `unparse`
turns each such failure into `Unparsable`.
"""

import ast
import warnings
from codeop import PyCF_ALLOW_INCOMPLETE_INPUT  # type: ignore[attr-defined]  # not in the stubs
from typing import Literal

MAX_BYTES = 8_192
"""Largest program, in bytes of UTF-8 (PaD specification, section 9.3). Real ones have 300 to 2,000."""

MAX_DEPTH = 100
"""Deepest syntax tree, in nodes. `ast.unparse` needs up to four Python frames a node, of the 1,000 that there are."""


class Unparsable(ValueError):
    """The text is no Python, or too large or too deep to look at; `rule` says which."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        super().__init__(rule)


def parse(source: str) -> ast.Module:
    """The syntax tree of `source`.

    Raises:
        Unparsable: With rule `size`, `encoding`, `nesting`, or `syntax` for text that simply does not parse.
    """
    if len(source) > MAX_BYTES:
        raise Unparsable("size")
    try:
        size = len(source.encode())
    except UnicodeEncodeError:  # lone surrogates
        raise Unparsable("encoding") from None
    if size > MAX_BYTES:
        raise Unparsable("size")
    if "\0" in source:
        raise Unparsable("encoding")
    try:
        with warnings.catch_warnings():  # invalid escapes in strings are no error
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (RecursionError, MemoryError):
        raise Unparsable("nesting") from None
    except (SyntaxError, ValueError):
        raise Unparsable("syntax") from None
    if depth(tree) > MAX_DEPTH:
        raise Unparsable("nesting")
    return tree


def unparse(tree: ast.AST) -> str:
    """The text of a tree that `parse` gave.

    Raises:
        Unparsable: With rule `print`, where Python cannot print what it parsed.
    """
    try:
        return ast.unparse(tree)
    except Exception:  # ValueError, RecursionError and whatever the next version raises: the text is a stranger's
        raise Unparsable("print") from None


def completeness(source: str) -> Literal["complete", "incomplete", "wrong"]:
    """Whether a text is Python, could become Python when more text follows, or cannot.

    >>> [completeness(text) for text in ("a = (1,", "a = (1,)", "a = = 1")]
    ['incomplete', 'complete', 'wrong']
    """
    if len(source.encode("utf-8", "replace")) > MAX_BYTES or "\0" in source:
        return "wrong"
    flags = ast.PyCF_ONLY_AST | PyCF_ALLOW_INCOMPLETE_INPUT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "<program>", "exec", flags, dont_inherit=True)
    except SyntaxError as error:
        return "incomplete" if "incomplete input" in str(error.msg) else "wrong"
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return "wrong"
    return "complete"


def depth(tree: ast.AST) -> int:
    """Nodes on the longest path from the root; counted level by level, so that no tree is too deep for it."""
    levels, level = 0, [tree]
    while level:
        levels += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return levels
