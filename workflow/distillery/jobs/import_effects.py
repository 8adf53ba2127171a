"""Which statements of a module only bind a name when they run, and which may do more.

A statement that only binds a name (a function, a class, a constant) matters to those who use the name. One that may do
more (register a function, patch a class, set an environment variable) matters to everybody who imports the module. A
call counts as one that may do more unless it is listed here: a call that is missing costs a computation too many, never
a stale result.
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass

PURE_CALLS = {
    *(f"builtins.{name}" for name in ("bool", "bytes", "chr", "dict", "enumerate", "float", "frozenset", "int", "len")),
    *(f"builtins.{name}" for name in ("list", "max", "min", "ord", "range", "repr", "reversed", "round", "set")),
    *(f"builtins.{name}" for name in ("slice", "sorted", "str", "sum", "tuple", "zip")),
    *("builtins.str.maketrans", "builtins.dict.fromkeys", "builtins.int.from_bytes"),
    *("re.compile", "logging.getLogger", "pathlib.Path", "decimal.Decimal", "fractions.Fraction", "struct.Struct"),
    *("datetime.timedelta", "datetime.datetime", "datetime.date", "collections.namedtuple", "os.path.realpath"),
    *("typing.TypeVar", "typing.ParamSpec", "typing.NewType", "dataclasses.field"),
    *("pydantic.Field", "pydantic.ConfigDict", "pydantic.StringConstraints", "pydantic.PrivateAttr"),
}
"""Calls that return a value and do nothing else."""

PURE_METHODS = {
    *("casefold", "decode", "encode", "format", "join", "lower", "replace", "split", "splitlines", "strip", "upper"),
    *("items", "keys", "values", "absolute", "joinpath", "relative_to", "resolve", "with_name", "with_suffix"),
}
"""Methods of texts, mappings and paths that return a value and do nothing else."""

PURE_DECORATORS = {
    *("builtins.classmethod", "builtins.property", "builtins.staticmethod"),
    *("functools.cache", "functools.lru_cache", "functools.cached_property", "functools.wraps"),
    *("functools.total_ordering", "dataclasses.dataclass", "enum.unique"),
    *("contextlib.contextmanager", "contextlib.asynccontextmanager"),
    *("abc.abstractmethod", "typing.final", "typing.overload", "typing.override", "typing.runtime_checkable"),
    *("pydantic.field_validator", "pydantic.model_validator"),
    *("torch.no_grad", "torch.inference_mode", "torch.autograd.function.once_differentiable"),
}
"""Decorators that register nothing, and that do not look at annotations of functions."""


@dataclass(frozen=True)
class Names:
    """What a file's imports say about the names in an expression.

    Args:
        outside: Dotted name of something outside of the library (`re.compile`, `builtins.len`), else None.
        inside: The name, with attributes, of something that the library defines, else None.
    """

    outside: Callable[[ast.expr], str | None]
    inside: Callable[[ast.expr], str | None]


class Effects:
    """Whether statements only bind names, as far as one file says.

    `conditions` collects what the file cannot say: `call X` holds where X is a class without a constructor of its own,
    `base X` where X is a class that does nothing when it is subclassed.
    """

    def __init__(self, names: Names) -> None:
        self.names = names
        self.conditions: set[str] = set()

    def only_binds(self, statement: ast.stmt) -> bool:
        """Whether a statement of a module or class does nothing but bind names, if the conditions hold."""
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                defaults = [*statement.args.defaults, *filter(None, statement.args.kw_defaults)]
                return self._decorated_quietly(statement) and all(map(self.is_pure, defaults))
            case ast.ClassDef():
                for base in statement.bases:
                    if inside := self.names.inside(base):
                        self.conditions.add(f"base {inside}")
                # A keyword is a metaclass or goes to __init_subclass__: both run code of the base class.
                return (
                    self._decorated_quietly(statement)
                    and not statement.keywords
                    and all(map(self.is_pure, statement.bases))
                    and all(map(self.only_binds, statement.body))
                )
            case ast.Assign(targets=targets, value=value):
                return all(map(_only_names, targets)) and self.is_pure(value)
            case ast.AnnAssign(target=target, value=value):
                return _only_names(target) and (value is None or self.is_pure(value))
            case ast.Expr(value=ast.Constant()) | ast.Pass() | ast.Import() | ast.ImportFrom():
                return True
        return False

    def _decorated_quietly(self, definition: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
        given = [value for call in definition.decorator_list if isinstance(call, ast.Call) for value in _given(call)]
        return has_plain_decorators(definition, self.names) and all(map(self.is_pure, given))

    def is_pure(self, expression: ast.expr) -> bool:
        """Whether computing a value does nothing else, if the conditions hold."""
        todo: list[ast.AST] = [expression]
        while todo:
            node = todo.pop()
            if isinstance(node, ast.Lambda):
                todo += [*node.args.defaults, *filter(None, node.args.kw_defaults)]  # its body does not run here
                continue
            if isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
                return False
            if isinstance(node, ast.Call) and not self._is_pure_call(node):
                return False
            todo.extend(ast.iter_child_nodes(node))
        return True

    def _is_pure_call(self, call: ast.Call) -> bool:
        called = [call.func, *(word.value for word in call.keywords if word.arg in {"key", "default_factory"})]
        return all(map(self._may_be_called, called))

    def _may_be_called(self, function: ast.expr) -> bool:
        if self.names.outside(function) in PURE_CALLS or isinstance(function, ast.Lambda):
            return True
        if inside := self.names.inside(function):
            self.conditions.add(f"call {inside}")
            return True
        return isinstance(function, ast.Attribute) and function.attr in PURE_METHODS


def has_plain_decorators(definition: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, names: Names) -> bool:
    """Whether each decorator is one that registers nothing and does not look at annotations."""
    for decorator in definition.decorator_list:
        used = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(used, ast.Attribute) and used.attr in {"setter", "getter", "deleter"}:
            continue  # of a property
        if names.outside(used) not in PURE_DECORATORS:
            return False
    return True


def _given(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def _only_names(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return all(map(_only_names, target.elts))
    return isinstance(target, ast.Name) or (isinstance(target, ast.Starred) and _only_names(target.value))
