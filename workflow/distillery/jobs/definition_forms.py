"""The form of a definition: what is left of its syntax when everything that changes no result is left out.

Left out are comments, docstrings, formatting, annotations that nothing reads, descriptions of settings, names of
loggers, names of library modules, and what differs between Python versions. Places that refer to something outside of
the definition are numbered, and what they refer to is listed.

Annotations count in class bodies, since pydantic and dataclasses make fields of them, and in functions with a decorator
that may look at them. Elsewhere nothing reads them while a stage runs.
"""

import ast
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from distillery.jobs.bindings import (
    PACKAGE,
    Reference,
    absolute,
    bindings,
    chain,
    does_nothing,
    dotted,
    is_type_checking,
)
from distillery.jobs.import_effects import Names, has_plain_decorators


@dataclass
class _Scope:
    kind: str
    """`function`, `class`, or `comprehension`."""
    names: dict[str, list[Reference]]
    globals: set[str] = field(default_factory=set)


_SKIPPED = {"ctx", "kind", "type_comment", "type_ignores", "lineno", "col_offset"}
_MODULE_NAME = re.compile(rf"{PACKAGE}(\.\w+)+")
_WHOLE_MODULE = {"globals", "vars", "eval", "exec", "__dict__", "__builtins__"}
_BESIDE = {"__file__", "__path__", "__spec__", "__package__", "__loader__"}
_IMPORTERS = {"importlib.import_module", "builtins.__import__", "runpy.run_module"}
_DISCOVERERS = {"pkgutil.iter_modules", "pkgutil.walk_packages", "pkgutil.resolve_name"}


class Form:
    """Writes the form of one definition.

    Args:
        names: What the global names of the file may mean. `lookup`: the same for whole expressions.
        package: In which relative imports start.
    """

    def __init__(self, names: Mapping[str, Sequence[Reference]], lookup: Names, package: str) -> None:
        self.names, self.lookup, self.package = names, lookup, package
        self.text: list[str] = []
        self.references: list[Reference] = []
        self.imports: set[str] = set()
        self.files: set[str] = set()
        self.scopes: list[_Scope] = []

    def digest(self) -> str:
        """Digest (32 digits) of what has been written."""
        return hashlib.sha256("\0".join(self.text).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def refer(self, *reference: str) -> None:
        self.text.append(f"@{len(self.references)}")
        self.references.append(reference)

    def write(self, value: object) -> None:
        """Write a node, a list of nodes, or a plain value of one."""
        if isinstance(value, ast.AST):
            writer = getattr(self, f"write_{type(value).__name__}", None)
            if writer is not None:
                writer(value)
            else:
                self.write_fields(value)
        elif isinstance(value, list | tuple):
            self.text.append("[")
            for item in value:
                if not (isinstance(item, ast.stmt) and does_nothing(item)):
                    self.write(item)
            self.text.append("]")
        else:
            self.text.append(repr(value))

    def write_fields(self, node: ast.AST, skip: Sequence[str] = ()) -> None:
        """The general case: fields that are empty are left out, since newer Pythons have more of them."""
        self.text.append(f"({type(node).__name__}")
        for name in node._fields:
            value = getattr(node, name, None)
            if value is None or value == [] or name in _SKIPPED or name in skip:
                continue
            self.text.append(name)
            self.write(value)
        self.text.append(")")

    # Names

    def find(self, name: str) -> tuple[bool, list[Reference]]:
        """Whether a name is local here, and what it may mean if a local import binds it."""
        for depth, scope in enumerate(reversed(self.scopes)):
            if scope.kind == "class" and depth > 0:
                continue  # names of a class body are not seen by its methods
            if name in scope.globals:
                return False, []
            if name in scope.names:
                return True, scope.names[name]
        return False, []

    def write_chain(self, name: str, attributes: Sequence[str]) -> None:
        local, imported = self.find(name)
        self.text.append("(name")
        if not local:
            self._write_global(name, attributes)
        elif imported:
            for kind, *rest in imported:
                self.refer(kind, *rest, *attributes)
        else:
            self.text.append(name)
        self.text += [*attributes, ")"]

    def _write_global(self, name: str, attributes: Sequence[str]) -> None:
        self.refer("name", name, *attributes)
        if name in _BESIDE:
            self.files.add(".")
        if name in self.names:
            if attributes and dotted(self.names[name], name, attributes[:1]) == "sys.modules":
                self.refer("own")
        elif name in _WHOLE_MODULE:
            self.refer("own")

    def write_Name(self, node: ast.Name) -> None:
        if self._in_class() and not isinstance(node.ctx, ast.Load):
            self.text.append(node.id)  # an attribute, whatever has its name outside
        else:
            self.write_chain(node.id, ())

    def write_Attribute(self, node: ast.Attribute) -> None:
        if self._write_location(node):
            return
        name, attributes = chain(node)
        if name is None:
            self.write_fields(node)
        else:
            self.write_chain(name, attributes)

    def write_Constant(self, node: ast.Constant) -> None:
        self.text += [type(node.value).__name__, repr(node.value)]
        if isinstance(node.value, str) and _MODULE_NAME.fullmatch(node.value):
            self.refer("module", node.value)
            self.imports.add(node.value)

    def write_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Python versions cut the constant texts between the braces at different places."""
        self.text.append("(JoinedStr")
        constant = ""
        for value in node.values:
            if isinstance(value, ast.Constant):
                constant += str(value.value)
                continue
            self.text.append(repr(constant))
            constant = ""
            self.write(value)
        self.text += [repr(constant), ")"]

    # Expressions that need care

    def write_Call(self, node: ast.Call) -> None:
        if self._write_location(node):
            return
        called = self._dotted(node.func)
        if called == "logging.getLogger":
            return  # the name of a logger reaches people only
        if called in _IMPORTERS:
            self.refer("below", _beginning(node.args[0] if node.args else None))
        elif called in _DISCOVERERS:
            self.refer("below", self.package)
        if any(isinstance(value, ast.Name) and value.id == "__name__" for value in node.args):
            self.files.add(".")  # a loader of files takes the module's name
        if called == "pydantic.Field":
            keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]  # read by people
            node = ast.Call(func=node.func, args=node.args, keywords=keywords)
        self.write_fields(node)

    def _dotted(self, node: ast.expr) -> str | None:
        name, attributes = chain(node)
        if name is None:
            return None
        local, imported = self.find(name)
        if local:
            return dotted(imported, name, attributes) if imported else None
        return self.lookup.outside(node)

    def write_BinOp(self, node: ast.BinOp) -> None:
        if not self._write_location(node):
            self.write_fields(node)

    def write_Subscript(self, node: ast.Subscript) -> None:
        if not self._write_location(node):
            self.write_fields(node)

    def _write_location(self, node: ast.expr) -> bool:
        """Write a path beside this file (`Path(__file__).parent / "templates"`), and note what lies there."""
        place = location(node)
        if place is None:
            return False
        self.files.add("/".join(place) or ".")
        self.text += ["(location", *place, ")"]
        return True

    def write_Lambda(self, node: ast.Lambda) -> None:
        self.text.append("(Lambda")
        self._write_arguments(node.args, annotations=False)
        self.scopes.append(_Scope("function", _parameters(node.args) | bindings([node.body], self.package).names))
        self.write(node.body)
        self.scopes.pop()
        self.text.append(")")

    def _write_comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self.text.append(f"({type(node).__name__}")
        first, *others = node.generators
        self.write(first.iter)  # in the scope outside
        targets = bindings([generator.target for generator in node.generators], self.package).names
        self.scopes.append(_Scope("comprehension", targets))
        self.write_fields(first, skip=["iter"])
        self.write(others)
        self.write([node.key, node.value] if isinstance(node, ast.DictComp) else node.elt)
        self.scopes.pop()
        self.text.append(")")

    write_ListComp = write_SetComp = write_DictComp = write_GeneratorExp = _write_comprehension

    # Statements that need care

    def write_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        annotations = not has_plain_decorators(node, self.lookup)
        self.text += [f"({type(node).__name__}", node.name]
        self.write(node.decorator_list)
        self._write_arguments(node.args, annotations=annotations)
        if annotations:
            self.write_annotation(node.returns)
        found = bindings(node.body, self.package)
        self.scopes.append(_Scope("function", _parameters(node.args) | found.names, found.globals))
        self.write(node.body)
        self.scopes.pop()
        self.text.append(")")
        self._bound_in_class(node.name)

    write_AsyncFunctionDef = write_FunctionDef

    def _write_arguments(self, node: ast.arguments, *, annotations: bool) -> None:
        self.text.append("(arguments")
        for kind in ("posonlyargs", "args", "vararg", "kwonlyargs", "kwarg"):
            found = getattr(node, kind)
            arguments = found if isinstance(found, list) else [found] if found else []
            self.text += [kind, *(argument.arg for argument in arguments)]
            if annotations:
                for argument in arguments:
                    self.write_annotation(argument.annotation)
        self.write(node.defaults)
        self.write(node.kw_defaults)
        self.text.append(")")

    def write_ClassDef(self, node: ast.ClassDef) -> None:
        self.text += ["(ClassDef", node.name]
        for outside in (node.decorator_list, node.bases, node.keywords):
            self.write(outside)
        self.scopes.append(_Scope("class", {}))  # filled as its statements bind names, in their order
        self.write(node.body)
        self.scopes.pop()
        self.text.append(")")
        self._bound_in_class(node.name)

    def _in_class(self) -> bool:
        return bool(self.scopes) and self.scopes[-1].kind == "class"

    def _bound_in_class(self, *names: str) -> None:
        if self._in_class():
            self.scopes[-1].names.update((name, []) for name in names)

    def write_Assign(self, node: ast.Assign) -> None:
        self.write_fields(node)
        self._bound_in_class(*bindings(node.targets, self.package).names)

    def write_AnnAssign(self, node: ast.AnnAssign) -> None:
        in_class = self._in_class()
        if in_class:
            self.text.append("(field")
            self.write_annotation(node.annotation)
            self.write(node.target)
        if node.value is not None:
            self.write_Assign(ast.Assign(targets=[node.target], value=node.value))
        if in_class:
            self.text.append(")")

    def write_annotation(self, node: ast.expr | None) -> None:
        """Texts in annotations are read as the names that they stand for, but not the values of Literal."""
        self.write(None if node is None else _Unquoted().visit(node))

    def write_If(self, node: ast.If) -> None:
        if is_type_checking(node.test):
            self.write(node.orelse)
        else:
            self.write_fields(node)

    def write_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        found = bindings([node], self.package)
        self.imports |= found.modules
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*" and found.modules:
            self.refer("module", absolute(node, self.package))
        if self._in_class():
            self.scopes[-1].names.update(found.names)
        if not found.modules:  # a library module may be called otherwise; what is taken from it is referred to
            self.write_fields(node)

    write_ImportFrom = write_Import


class _Unquoted(ast.NodeTransformer):
    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        name = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", None)
        return node if name == "Literal" else self.generic_visit(node)  # type: ignore[return-value]

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, str):
            return node
        try:
            return ast.parse(node.value, mode="eval").body
        except SyntaxError:
            return node


def location(node: ast.expr) -> list[str] | None:
    """Parts of the path that an expression about `__file__` means, relative to the module's folder; None if unknown.

    >>> location(ast.parse("Path(__file__).parents[1] / 'evaluation' / 'templates'", mode="eval").body)
    ['..', 'evaluation', 'templates']
    """
    place = _location(node)
    return None if place is None or place[-1:] == [_FILE] else place


_FILE = "__file__"


def _location(node: ast.expr) -> list[str] | None:
    """The same, where the module itself is a file in its folder."""
    match node:
        case ast.Call(func=ast.Name(id="Path"), args=[ast.Name(id="__file__")], keywords=[]):
            return [_FILE]
        case ast.Call(func=ast.Attribute(value=base, attr="resolve" | "absolute"), args=[], keywords=[]):
            return _location(base)
        case ast.Call(func=ast.Attribute(value=base, attr="with_name"), args=[ast.Constant(value=str(name))]):
            return _climb(_location(base), 1, [name])
        case ast.Call(func=ast.Attribute(value=base, attr="joinpath"), args=arguments):
            texts = [item.value for item in arguments if isinstance(item, ast.Constant) and isinstance(item.value, str)]
            return _climb(_location(base), 0, texts) if len(texts) == len(arguments) else None
        case ast.Attribute(value=base, attr="parent"):
            return _climb(_location(base), 1, [])
        case ast.Subscript(value=ast.Attribute(value=base, attr="parents"), slice=ast.Constant(value=int(number))):
            return _climb(_location(base), number + 1, [])
        case ast.BinOp(left=base, op=ast.Div(), right=ast.Constant(value=str(name))):
            return _climb(_location(base), 0, [name])
    return None


def _climb(place: list[str] | None, up: int, down: Sequence[str]) -> list[str] | None:
    if place is None:
        return None
    for _ in range(up):
        place = place[:-1] if place and place[-1] != ".." else [*place, ".."]
    return [*place, *(part for text in down for part in text.split("/"))]


def _parameters(node: ast.arguments) -> dict[str, list[Reference]]:
    found = [*node.posonlyargs, *node.args, *node.kwonlyargs, *filter(None, [node.vararg, node.kwarg])]
    return {argument.arg: [] for argument in found}


def _beginning(node: ast.expr | None) -> str:
    """The constant text that a text begins with."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]):
            return text
        case ast.BinOp(left=left, op=ast.Add()):
            return _beginning(left)
    return ""
