"""Error injection: wrong programs made from right ones, so that a model can learn to repair its own.

    class                 paper (as released)                              repaired (ours)
    name_error            every stored name gets another, undefined name   one load is misspelt, or one assignment lost
    unbound_local_error   first assigned name(s) read at the top           an assignment moves below its first use
    syntax_error          `return 'Syntax Error'` at the top: none at all  a bracket, colon or indent is lost
    operand_swap          none                                             operands swapped or operator changed: silent

The printed form of both programs comes from one printer (`printed`), so that they differ by the injection only; the
released code printed the wrong one anew and left the right one as it was, comments and all.

An injected program is a candidate. A row may be kept only if running it really raises the wanted class: run it in the
sandbox and ask `confirmed`. The released code ran the programs without calling them, so that every feedback was empty;
and its syntax error is none, so that under `paper` no row of that class is ever confirmed.

Source: PaD (arXiv 2305.13888), section on self-refinement; specification, section 3.2.
"""

import ast
import builtins
import keyword
import random
import re
from collections.abc import Iterator
from typing import Literal

from distillery.programs.execution import Execution, RunOutcome
from distillery.programs.syntax import Unparsable, parse, unparse

ErrorClass = Literal["name_error", "unbound_local_error", "syntax_error", "operand_swap"]
Injection = Literal["paper", "repaired"]
ERROR_CLASSES: tuple[ErrorClass, ...] = ("name_error", "unbound_local_error", "syntax_error", "operand_swap")

_RAISES = {"name_error": "NameError", "unbound_local_error": "UnboundLocalError"}


def inject(program: str, error_class: ErrorClass, rng: random.Random, injection: Injection = "repaired") -> str | None:
    """`program` with one error of the class, printed by `printed`; None where it has no place for one.

    Args:
        program: A program that runs; its first function `solution` is changed.
        error_class: Which error.
        rng: Decides between places. Equal seeds give equal programs.
        injection: `paper` as released, or `repaired`.
    """
    try:
        tree = parse(program)
        body = _solution(tree)
        if body is None:
            return None
        made = _MAKERS[injection, error_class](tree, body, rng)
        if made is None:
            return None
        text = made if isinstance(made, str) else unparse(ast.fix_missing_locations(made)) + "\n"
        return text if text != printed(program) else None
    except Unparsable:
        return None


def printed(program: str) -> str:
    """The program as this module prints it: the target that goes with an injected program.

    Raises:
        Unparsable: It does not parse, or Python cannot print it.
    """
    return unparse(parse(program)) + "\n"


def confirmed(execution: Execution, error_class: ErrorClass, clean: Execution | None = None) -> bool:
    """Whether the run of an injected program shows the error of its class.

    Args:
        execution: The run of the injected program.
        error_class: Which error was injected.
        clean: The run of the program that it was made from; only `operand_swap` needs it, whose error is a value.
    """
    if error_class == "syntax_error":
        return execution.outcome == RunOutcome.SYNTAX
    if error_class == "operand_swap":
        if clean is None:
            raise ValueError("operand_swap is confirmed against the run of the clean program: give `clean`")
        return execution.outcome == clean.outcome == RunOutcome.OK and execution.value != clean.value
    return execution.outcome == RunOutcome.EXCEPTION and execution.detail == _RAISES[error_class]


def _solution(tree: ast.Module) -> ast.FunctionDef | None:
    return next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "solution"), None)


def _stored(node: ast.AST) -> list[str]:
    """Names that a statement stores, in the order of the text."""
    names = [found for found in ast.walk(node) if isinstance(found, ast.Name) and isinstance(found.ctx, ast.Store)]
    return [name.id for name in sorted(names, key=lambda name: (name.lineno, name.col_offset))]


def _loaded(node: ast.AST) -> list[ast.Name]:
    return [found for found in ast.walk(node) if isinstance(found, ast.Name) and isinstance(found.ctx, ast.Load)]


# As released.


def _paper_name_error(tree: ast.Module, function: ast.FunctionDef, rng: random.Random) -> ast.Module | None:
    stores = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    for name in stores:
        name.id = f"undefined_var_{rng.randint(0, 9999)}"
    return tree if stores else None


def _paper_unbound(tree: ast.Module, function: ast.FunctionDef, rng: random.Random) -> ast.Module | None:
    first = next((node for node in function.body if isinstance(node, ast.Assign) and _stored(node)), None)
    if first is None:
        return None
    function.body[:0] = [ast.Expr(ast.Name(name, ast.Load())) for name in _stored(first)]
    return tree


def _paper_syntax(tree: ast.Module, function: ast.FunctionDef, rng: random.Random) -> ast.Module | None:
    function.body.insert(0, ast.Return(ast.Constant("Syntax Error")))
    return tree


# Repaired.


def _assignments(function: ast.FunctionDef) -> dict[int, str]:
    """Statements of the body that assign one name which nothing else in the function assigns: place -> name."""
    stored = _stored(function)
    return {
        place: node.targets[0].id
        for place, node in enumerate(function.body)
        if isinstance(node, ast.Assign)
        and len(node.targets) == 1
        and isinstance(node.targets[0], ast.Name)
        and stored.count(node.targets[0].id) == 1
    }


def _misspelt(name: str, taken: set[str], rng: random.Random) -> str:
    """A name that a model could have written instead: a word lost, two words in another order, or one added."""
    words = name.split("_")
    variants = [f"{name}_{word}" for word in ("total", "value", "count")] + [f"{name}s", f"num_{name}"]
    if len(words) > 1:
        variants += ["_".join(words[1:]), "_".join(words[:-1]), "_".join(reversed(words))]
    free = [
        new
        for new in variants
        if new not in taken and new.isidentifier() and not keyword.iskeyword(new) and new[0] != "_"
    ]
    return rng.choice(free or [f"{name}_{number}" for number in range(2, 100) if f"{name}_{number}" not in taken])


def _repaired_name_error(tree: ast.Module, function: ast.FunctionDef, rng: random.Random) -> ast.Module | None:
    local = set(_stored(function))
    loads = [name for name in _loaded(function) if name.id in local]
    used = {name.id for name in loads}
    lost = [place for place, name in _assignments(function).items() if name in used]
    if not loads:
        return None
    if lost and rng.random() < 0.5:
        del function.body[rng.choice(lost)]
        return tree
    known = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | set(dir(builtins))
    chosen = rng.choice(loads)
    chosen.id = _misspelt(chosen.id, known, rng)
    return tree


def _repaired_unbound(tree: ast.Module, function: ast.FunctionDef, rng: random.Random) -> ast.Module | None:
    moves = []
    for place, name in _assignments(function).items():
        later = enumerate(function.body[place + 1 :], place + 1)
        use = next((at for at, node in later if name in {load.id for load in _loaded(node)}), None)
        if use is not None:
            moves.append((place, use))
    if not moves:
        return None
    place, use = rng.choice(moves)
    function.body.insert(use, function.body.pop(place))  # right after the use: it moved up by one
    return tree


def _repaired_syntax(tree: ast.Module, function: ast.FunctionDef, rng: random.Random) -> str | None:
    text = unparse(tree) + "\n"
    places = [match.span() for match in re.finditer(r"[()\[\]{}]|:(?=\n)|(?<=\n) {4,}(?=\S)", text)]
    rng.shuffle(places)
    for begin, end in places:
        wrong = text[:begin] + text[end:]
        if _broken(wrong):
            return wrong
    return None


def _broken(text: str) -> bool:
    """Whether Python refuses the text: `compile` knows errors that the parser alone does not (`return` outside)."""
    try:
        compile(parse(text), "<program>", "exec")
    except SyntaxError:
        return True
    except (RecursionError, MemoryError, OverflowError):
        return False
    except Unparsable as fault:
        return fault.rule == "syntax"
    return False


_OTHER = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}
_ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)


def _repaired_swap(tree: ast.Module, function: ast.FunctionDef, rng: random.Random) -> ast.Module | None:
    choices = list(_swaps(function))
    if not choices:
        return None
    node, operator = rng.choice(choices)
    if operator is None:
        node.left, node.right = node.right, node.left
    else:
        node.op = operator()
    return tree


def _swaps(function: ast.FunctionDef) -> Iterator[tuple[ast.BinOp, type[ast.operator] | None]]:
    """Operations that can be changed: with another operator, or with None for operands in the other order."""
    for node in ast.walk(function):
        if isinstance(node, ast.BinOp):
            if type(node.op) in _OTHER:
                yield node, _OTHER[type(node.op)]
            if isinstance(node.op, _ORDERED) and ast.dump(node.left) != ast.dump(node.right):
                yield node, None


def _none(tree: ast.Module, function: ast.FunctionDef, rng: random.Random) -> None:
    return None


_MAKERS = {
    ("paper", "name_error"): _paper_name_error,
    ("paper", "unbound_local_error"): _paper_unbound,
    ("paper", "syntax_error"): _paper_syntax,
    ("paper", "operand_swap"): _none,
    ("repaired", "name_error"): _repaired_name_error,
    ("repaired", "unbound_local_error"): _repaired_unbound,
    ("repaired", "syntax_error"): _repaired_syntax,
    ("repaired", "operand_swap"): _repaired_swap,
}
