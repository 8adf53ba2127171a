"""Which names statements bind, and what imports bind them to: what the code digest needs of Python's scopes."""

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

PACKAGE = "distillery"

Reference = tuple[str, ...]
"""`name X a b`: a name of this module with the attributes behind it; `from M X a b`: a name of another module;
`module M`: all of a module; `below P`: all modules whose dotted names begin with a text; `own`: all of this module."""


@dataclass
class Bindings:
    """Names that statements bind in their scope, what imports bind them to, and the library modules imported."""

    names: dict[str, list[Reference]] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)
    globals: set[str] = field(default_factory=set)
    """Declared global."""


COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def bindings(nodes: Iterable[ast.AST], package: str) -> Bindings:
    """Find the names that are bound in the scope of `nodes`; scopes inside it are left out.

    Args:
        package: In which relative imports start.
    """
    found = Bindings()
    outside: set[str] = set()
    todo = list(nodes)[::-1]
    while todo:
        node = todo.pop()
        match node:
            case ast.Name():
                if not isinstance(node.ctx, ast.Load):
                    found.names.setdefault(node.id, [])
                continue
            case ast.Constant() | ast.Lambda() | ast.Pass():
                continue
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.names.setdefault(node.name, [])
                continue
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                for inner in ast.walk(node):
                    if isinstance(inner, ast.NamedExpr):
                        found.names.setdefault(inner.target.id, [])
                continue
            case ast.If() if is_type_checking(node.test):
                todo.extend(reversed(node.orelse))
                continue
            case ast.Import() | ast.ImportFrom():
                _bind_imports(node, package, found)
                continue
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                found.names.setdefault(name, [])
            case ast.MatchMapping(rest=str(name)):
                found.names.setdefault(name, [])
            case ast.Nonlocal():
                outside.update(node.names)
            case ast.Global():
                outside.update(node.names)
                found.globals.update(node.names)
        todo.extend(reversed(list(ast.iter_child_nodes(node))))
    for name in outside:
        found.names.pop(name, None)
    return found


def _bind_imports(node: ast.Import | ast.ImportFrom, package: str, found: Bindings) -> None:
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            target = ("module", alias.name) if alias.asname else ("module", top)
            found.names.setdefault(alias.asname or top, []).append(target)
            if top == PACKAGE:
                found.modules.add(alias.name)
        return
    module = absolute(node, package)
    for alias in node.names:
        if alias.name != "*":
            found.names.setdefault(alias.asname or alias.name, []).append(("from", module, alias.name))
    if module.partition(".")[0] == PACKAGE:
        found.modules.add(module)
        found.modules.update(f"{module}.{alias.name}" for alias in node.names if alias.name != "*")


def absolute(node: ast.ImportFrom, package: str) -> str:
    """Dotted name of the module that is imported from."""
    if not node.level:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, *filter(None, [node.module])])


def chain(expression: ast.expr) -> tuple[str | None, list[str]]:
    """Name and attributes of `name.a.b`; no name for other expressions."""
    attributes: list[str] = []
    while isinstance(expression, ast.Attribute):
        attributes.append(expression.attr)
        expression = expression.value
    return (expression.id if isinstance(expression, ast.Name) else None), attributes[::-1]


def dotted(found: Sequence[Reference] | None, name: str, attributes: Sequence[str]) -> str | None:
    """Dotted name of an imported thing or a builtin; None for what a module defines itself."""
    if not found:
        return ".".join(["builtins", name, *attributes])
    (kind, *rest) = found[0]
    return None if len(found) > 1 or kind == "part" else ".".join([*rest, *attributes])


def does_nothing(statement: ast.stmt) -> bool:
    """A docstring, the text that documents an attribute above it, or `pass`."""
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def is_main_guard(test: ast.expr) -> bool:
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Name)
        and test.left.id == "__name__"
        and isinstance(test.ops[0], ast.Eq)
    )
