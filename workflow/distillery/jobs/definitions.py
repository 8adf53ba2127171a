"""What one source file defines, by its syntax: definitions, what runs on import, and what each of these refers to.

A part is a definition of a module (all statements that bind its name), or a statement that runs on import. What its
references mean is decided by `code_digest`, with all files at hand.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from distillery.jobs.bindings import (
    PACKAGE,
    Bindings,
    Reference,
    bindings,
    chain,
    does_nothing,
    dotted,
    is_main_guard,
    is_type_checking,
)
from distillery.jobs.definition_forms import Form
from distillery.jobs.import_effects import Effects, Names

ON_IMPORT = "(on import)"
AS_PROGRAM = "(as a program)"
DEFINING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
"""Statements that bind names of their own."""


@dataclass(frozen=True)
class Part:
    """A definition, or a statement that runs on import.

    Args:
        form: Digest of its form, in which places that refer to something else are numbered.
        references: What stands at these places, in their order.
        imports: Library modules that it imports when it runs.
        files: Files or folders that its code names, relative to the folder of the module.
        conditions: It does nothing on import only if these hold (`distillery.jobs.import_effects.Effects`).
        bases: Of a class: names of its base classes; None for what is no class.
        hooks: Of a class: `constructor` and `subclass`, where it defines methods that run on these occasions.
        calls: The name that a statement calls, when it does nothing else.
    """

    form: str
    references: tuple[Reference, ...]
    imports: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    bases: tuple[str, ...] | None = None
    hooks: tuple[str, ...] = ()
    calls: str | None = None


@dataclass(frozen=True)
class Module:
    """What a file defines.

    Args:
        parts: By name; a statement that binds no name of its own has `ON_IMPORT` and a number as its name.
        names: What each global name may mean: `part P`, or a reference into another module.
        on_import: Names of the parts that may do something on import, in the order of the file.
        imports: Library modules that are imported whenever this one is.
    """

    parts: dict[str, Part]
    names: dict[str, tuple[Reference, ...]]
    on_import: tuple[str, ...]
    imports: tuple[str, ...]


HOOKS = {
    **dict.fromkeys(("__init__", "__new__", "__post_init__", "model_post_init"), "constructor"),
    "__init_subclass__": "subclass",
}


def analyse(source: bytes, module: str, *, package: bool = False) -> Module:
    """Read the definitions of a file.

    Args:
        module: Its dotted name, for relative imports. `package`: it is an `__init__.py`.

    Raises:
        SyntaxError: The file is not Python.
    """
    return _File(ast.parse(source, filename=module), module if package else module.rpartition(".")[0]).result()


class _File:
    def __init__(self, tree: ast.Module, package: str) -> None:
        self.package = package
        self.names: dict[str, list[Reference]] = {}
        self.lookup = Names(self._outside, self._inside)
        self.imports: set[str] = set()
        self.statements: dict[str, list[ast.stmt]] = {}
        self.on_import: dict[str, set[str]] = {}
        """Part -> conditions; none at all for what does something in any case."""
        statements = list(self._executed(tree.body))
        bound = [bindings([statement], package) for statement in statements]
        for found in bound:  # all names first: a decorator may be imported below what it decorates
            for name, targets in found.names.items():
                self.names.setdefault(name, []).extend(targets)
        self._definitions(statements, bound)

    def _executed(self, body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
        """Statements that run on import, but for texts that document something."""
        for statement in body:
            if isinstance(statement, ast.If) and is_type_checking(statement.test):
                yield from self._executed(statement.orelse)
            elif isinstance(statement, ast.If) and is_main_guard(statement.test):
                self.statements.setdefault(AS_PROGRAM, []).extend(statement.body)
                yield from self._executed(statement.orelse)
            elif not does_nothing(statement):
                yield statement

    def _definitions(self, statements: list[ast.stmt], bound: list[Bindings]) -> None:
        for number, (statement, found) in enumerate(zip(statements, bound, strict=True)):
            for name in found.names:
                if not isinstance(statement, ast.Import | ast.ImportFrom):
                    alone = isinstance(statement, DEFINING)
                    self.names[name].append(("part", name if alone else f"{ON_IMPORT} {number}"))
        for number, (statement, found) in enumerate(zip(statements, bound, strict=True)):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self.imports |= found.modules
                future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
                if future or statement.names[0].name == "*":
                    self._add(f"{ON_IMPORT} {number}", statement, None)
                continue
            effects = Effects(self.lookup)
            conditions = effects.conditions if effects.only_binds(statement) else None
            if isinstance(statement, DEFINING) and found.names:
                for name in found.names:
                    self._add(name, statement, conditions)
            else:
                self._add(f"{ON_IMPORT} {number}", statement, conditions)

    def _add(self, part: str, statement: ast.stmt, conditions: set[str] | None) -> None:
        """Add a statement to a part; without conditions it does something on import."""
        self.statements.setdefault(part, []).append(statement)
        if conditions is None:
            self.on_import[part] = set()
        elif conditions and self.on_import.get(part) != set():
            self.on_import[part] = self.on_import.get(part, set()) | conditions

    def _outside(self, expression: ast.expr) -> str | None:
        name, attributes = chain(expression)
        return None if name is None else dotted(self.names.get(name), name, attributes)

    def _inside(self, expression: ast.expr) -> str | None:
        name, attributes = chain(expression)
        found = self.names.get(name or "", ())
        inside = any(kind == "part" or rest[0].partition(".")[0] == PACKAGE for kind, *rest in found)
        return ".".join([name or "", *attributes]) if inside else None

    def result(self) -> Module:
        parts = {name: self._part(name, statements) for name, statements in self.statements.items()}
        names = {name: tuple(dict.fromkeys(found)) for name, found in self.names.items() if found}
        return Module(parts, names, tuple(self.on_import), tuple(sorted(self.imports)))

    def _part(self, name: str, statements: list[ast.stmt]) -> Part:
        form = Form(self.names, self.lookup, self.package)
        form.write(("" if name.startswith("(") else name, *statements))
        bases: tuple[str, ...] | None = None
        hooks: set[str] = set()
        calls: str | None = None
        match statements:
            case [ast.ClassDef() as found]:
                bases = tuple(self._inside(base) or "" for base in found.bases)
                bound = bindings(found.body, self.package).names
                hooks = {HOOKS[method] for method in bound if method in HOOKS}
                if found.keywords:  # a metaclass runs on both occasions
                    hooks = set(HOOKS.values())
            case [ast.Expr(value=ast.Call(func=ast.Name(id=called)))]:
                calls = called
        return Part(
            form=form.digest(),
            references=tuple(form.references),
            imports=tuple(sorted(form.imports)),
            files=tuple(sorted(form.files)),
            conditions=tuple(sorted(self.on_import.get(name, ()))),
            bases=bases,
            hooks=tuple(sorted(hooks)),
            calls=calls,
        )
