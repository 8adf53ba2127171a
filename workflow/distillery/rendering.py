r"""Templates that others wrote, in Jinja: the same text each time, within a fixed amount of work.

    Templates       of tasks and prompts: a closed list of statements, filters, tests and methods
    ChatTemplates   of tokenizers: the language that transformers gives them

Expressions are rewritten before they are compiled: each value that a template makes or reads passes `_counted`, and a
rendering beyond `STEPS` or `CHARACTERS` ends. The counts depend on the template and its fields only, never on the
machine: what renders once renders always.

>>> Templates().template("{{ answer.split('####')[-1] | trim }}").render({"answer": "2 + 2\n#### 4"})
'4'
"""

import math
import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sized, ValuesView
from contextvars import ContextVar
from typing import Any

import jinja2
from jinja2 import StrictUndefined, Undefined, meta, nodes, pass_context, pass_environment, pass_eval_context
from jinja2.filters import FILTERS
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.visitor import NodeTransformer

STEPS = 10_000
"""Values that one rendering may make or read, some tens of milliseconds."""

CHARACTERS = 10_000_000
"""Characters that these values may have together."""

ITEM = 100
"""Characters that an item of a list or mapping counts as, since it takes as long."""

LENGTH = 100_000
"""Characters of a template."""


class TemplateFault(Exception):
    """A template that is not valid, that may give another text next time, or that does too much work."""


class _Work:
    """What a rendering has done."""

    def __init__(self) -> None:
        self.steps, self.characters = 0, 0.0

    def add(self, characters: float) -> None:
        self.steps += 1
        self.characters += max(0.0, characters)
        if self.steps > STEPS:
            raise TemplateFault(f"it takes more than {STEPS:,} steps")
        if self.characters > CHARACTERS:
            raise TemplateFault(f"its values have more than {CHARACTERS:,} characters together")


_work: ContextVar[_Work] = ContextVar("_work")


class Template:
    """A compiled template."""

    def __init__(self, compiled: jinja2.Template) -> None:
        self._compiled = compiled

    def render(self, fields: Mapping[str, Any]) -> str:
        """The text for these fields.

        Raises:
            TemplateFault: It does too much work, or its text holds half of a surrogate pair.
            Exception: A template may raise anything on the values of its fields.
        """
        before = _work.set(_Work())
        try:
            return _characters(self._compiled.render(fields))
        except RecursionError:
            raise TemplateFault("it is nested too deeply") from None
        finally:
            _work.reset(before)


def _characters(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TemplateFault("half of a surrogate pair, which is no character") from None
    return text


def _size(value: Any, plain: bool, deep: int = 0) -> float:
    """Characters, digits and items of a value, as if it were written out.

    Args:
        value: Any value.
        plain: Whether a value that has no text of its own is refused: Python writes its address in memory.
        deep: Of how many containers it is an item.

    Raises:
        TemplateFault: It has no text of its own.
    """
    if isinstance(value, str | bytes | range):
        return len(value)
    if isinstance(value, Undefined | LoopContext | Macro | bool | float | None):
        return 1
    if isinstance(value, int):
        return value.bit_length() / 3
    if isinstance(value, Mapping | list | tuple | KeysView | ValuesView | ItemsView):
        total: float = ITEM * len(value)
        if total > CHARACTERS or deep > 100:
            return math.inf
        for item in [*value.keys(), *value.values()] if isinstance(value, Mapping) else value:
            total += _size(item, plain, deep + 1)
            if total > CHARACTERS:
                break
        return total
    if plain and (callable(value) or isinstance(value, Iterator) or type(value).__repr__ is object.__repr__):
        raise TemplateFault(f"a value of the kind {type(value).__name__} has no text of its own")
    return 1


@pass_context
def _counted(context: Any, value: Any) -> Any:
    """A value that an expression made or read, once its size is counted. What is made on demand becomes a list."""
    plain = context.environment.plain
    if isinstance(value, Iterator) and not isinstance(value, LoopContext | Undefined):
        value = list(_within(value, plain))
    _work.get().add(_size(value, plain))
    return value


@pass_context
def _items(context: Any, value: Any, body: int) -> Any:
    """What a loop goes through, once the text of the loop's body is counted for each item."""
    if isinstance(value, Undefined):
        return value
    items = value if isinstance(value, Sized) else list(_within(iter(value), context.environment.plain))
    _work.get().add(len(items) * (ITEM + body))
    return items


def _within(items: Iterator[Any], plain: bool) -> Iterator[Any]:
    for item in items:
        _work.get().add(_size(item, plain))
        yield item


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if numbers[STEPS:]:
        raise TemplateFault(f"range gives more than {STEPS:,} numbers")
    return numbers


def _replacing(text: str, old: str, new: str) -> None:
    if not old:
        raise TemplateFault("replace needs a text to replace")
    _work.get().add(len(text) + text.count(old) * len(new))


@pass_eval_context
def _replace(context: Any, value: Any, old: Any, new: Any, count: int | None = None) -> Any:
    _replacing(str(value), str(old), str(new))
    return FILTERS["replace"](context, value, old, new, count)


@pass_eval_context
def _join(context: Any, value: Any, d: Any = "", attribute: Any = None) -> Any:
    items = list(value)
    _work.get().add(len(items) * len(str(d)) + _size(items, False))
    return FILTERS["join"](context, items, d, attribute)


def _indent(s: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> Any:
    _work.get().add((str(s).count("\n") + 1) * (len(width) if isinstance(width, str) else width))
    return FILTERS["indent"](s, width, first, blank)


@pass_environment
def _sum(environment: Any, iterable: Any, attribute: Any = None, start: float = 0) -> Any:
    if not isinstance(start, int | float):
        raise TemplateFault("sum adds numbers only")
    return FILTERS["sum"](environment, iterable, attribute, start)


def _format(value: Any, *args: Any, **kwargs: Any) -> Any:
    _formatting(str(value))
    return FILTERS["format"](value, *args, **kwargs)


def _formatting(text: str) -> None:
    """`%999999999d` and `{:999999999}` make a text of that length from a short one."""
    if "*" in text or re.search(r"\d{4}|:.*{", text):
        raise TemplateFault("a format with a large or computed width")


def _in(value: Any, seq: Any) -> bool:
    _work.get().add(_size(seq, False))
    return value in seq


_GUARDED: dict[str, Callable[..., Any]] = {
    "replace": _replace,
    "join": _join,
    "indent": _indent,
    "sum": _sum,
    "format": _format,
    "_counted": _counted,
    "_items": _items,
}
_UNBOUNDED = ("batch", "center", "pprint", "random", "slice", "urlize", "wordwrap", "xmlattr")
_WIDE = frozenset({"center", "expandtabs", "ljust", "rjust", "zfill"})


class _Rewritten(NodeTransformer):
    """Puts `_counted` around each value of a template, and `_items` around what a loop goes through."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        super().generic_visit(node, *args, **kwargs)
        made = isinstance(node, nodes.Expr) and not isinstance(
            node, nodes.Const | nodes.TemplateData | nodes.Slice | nodes.NSRef | nodes.ExtensionAttribute
        )
        return _filtered(node, "_counted") if made and getattr(node, "ctx", "load") == "load" else node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        return _filtered(self._called(node), "_counted")

    def _called(self, node: nodes.Call) -> nodes.Call:
        """A call with its arguments rewritten. What is called is no value on its own."""
        if isinstance(node.node, nodes.Getattr | nodes.Getitem):
            node.node.node = self.visit(node.node.node)
        node.args = [self.visit(value) for value in node.args]
        node.kwargs = [self.visit(value) for value in node.kwargs]
        node.dyn_args = node.dyn_args and self.visit(node.dyn_args)
        node.dyn_kwargs = node.dyn_kwargs and self.visit(node.dyn_kwargs)
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        node.call = self._called(node.call)
        node.body = [self.visit(statement) for statement in node.body]
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        body = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_items", nodes.Const(body))
        return node


def _filtered(node: nodes.Node, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)


class ChatTemplates(ImmutableSandboxedEnvironment):
    """The language of chat templates, without the filters whose work has no bound and those that draw."""

    intercepted_binops = frozenset({"+", "-", "*", "**", "/", "//", "%"})
    plain = False
    """Whether each value must have a text of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters = {name: made for name, made in self.filters.items() if name not in _UNBOUNDED} | _GUARDED
        self.tests = {**self.tests, "in": _in}
        self.globals = {name: made for name, made in self.globals.items() if name != "lipsum"} | {"range": _range}

    def template(self, text: str) -> Template:
        """A compiled template.

        Raises:
            TemplateFault: It is not valid, or uses what this language lacks.
        """
        try:
            return Template(self.from_string(_characters(text)))
        except jinja2.TemplateError as error:
            raise TemplateFault((error.message or str(error)).rstrip(".")) from error
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:  # of Python's compiler
            raise TemplateFault(f"too long, or nested too deeply: {error}") from error

    def names(self, text: str) -> set[str]:
        """Names of the fields that a valid template reads."""
        return meta.find_undeclared_variables(self.parse(text)) - self.globals.keys()

    def check(self, tree: nodes.Template) -> None:
        """Refuse what the language lacks, beyond what its parser refuses."""

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if len(source) > LENGTH:
            raise TemplateFault(f"{len(source):,} characters, and a template has at most {LENGTH:,}")
        tree = super()._parse(source, name, filename)
        self.check(tree)
        return tree

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(_Rewritten().visit(source), *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The result of an operator; one that would be large is refused before it is made."""
        if operator == "*" and isinstance(left, int) != isinstance(right, int):
            times, value = (left, right) if isinstance(left, int) else (right, left)
            _work.get().add(_size(value, False) * times if isinstance(times, int) else 1)
        elif operator == "**":
            _work.get().add(_size(left, False) * (max(1, right) if isinstance(right, int) else 1))
        elif operator == "%" and isinstance(left, str | bytes):
            _formatting(str(left))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        """The result of a call; a method of a text that would make a large one is refused before."""
        owner, name = getattr(getattr(called, "__wrapped__", called), "__self__", None), getattr(called, "__name__", "")
        if isinstance(owner, str):
            if name == "replace" and len(args) > 1:
                _replacing(owner, str(args[0]), str(args[1]))
            elif name == "join" and args:
                args = (list(args[0]),)
                _work.get().add(len(args[0]) * len(owner) + _size(args[0], False))
            elif name in _WIDE:
                _work.get().add((1 + owner.count("\t")) * _size("", False) + sum(n for n in args if type(n) is int))
            elif name in ("format", "format_map"):
                _formatting(owner)
            elif name == "translate":
                raise TemplateFault("no method translate of texts")
        return super().call(context, called, *args, **kwargs)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


class Templates(ChatTemplates):
    """The language of the templates in tasks and prompts: whatever it can say has one text, on every machine."""

    plain = True
    FILTERS = _names(
        "abs capitalize count d default dictsort e escape first float indent int items join last length list lower map "
        "max min reject rejectattr replace reverse round select selectattr sort string sum title tojson trim truncate "
        "unique upper wordcount"
    )
    TESTS = _names(
        "!= < <= == > >= boolean defined divisibleby eq equalto even false float ge greaterthan gt in integer iterable "
        "le lessthan lower lt mapping ne none number odd sequence string true undefined upper"
    )
    METHODS = _names(
        "capitalize casefold changed count cycle endswith find get index isalnum isalpha isdecimal isdigit islower "
        "isnumeric isspace isupper items join keys lower lstrip partition removeprefix removesuffix replace rfind "
        "rindex rpartition rsplit rstrip split splitlines startswith strip swapcase title upper values"
    )

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
        self.filters = {name: self.filters[name] for name in (*self.FILTERS, "_counted", "_items")}
        self.tests = {**{name: TESTS[name] for name in self.TESTS}, "in": _in}
        self.globals = {"range": _range}

    def check(self, tree: nodes.Template) -> None:
        """Refuse every statement, filter, test, call and text that is not of this language."""
        for node in tree.find_all(nodes.Node):
            problem = self._problem(node)
            if problem is not None:
                raise TemplateFault(f"{problem}, in line {node.lineno} of the template")

    def _problem(self, node: nodes.Node) -> str | None:
        if isinstance(node, nodes.Stmt):
            if not isinstance(node, nodes.Output | nodes.If | nodes.For | nodes.Assign | nodes.With):
                return f"no statement {type(node).__name__.lower()}"
            return "no recursive loop" if isinstance(node, nodes.For) and node.recursive else None
        if isinstance(node, nodes.Filter):
            return self._unknown_filter(node)
        if isinstance(node, nodes.Test):
            return None if node.name in self.TESTS else f"no test {node.name!r}"
        if isinstance(node, nodes.Call):
            if isinstance(node.node, nodes.Getattr):
                return None if node.node.attr in self.METHODS else f"no method {node.node.attr!r}"
            named = node.node.name if isinstance(node.node, nodes.Name) else "with a computed name"
            return None if named == "range" else f"no function {named}"
        if isinstance(node, nodes.NSRef) or (isinstance(node, nodes.Name) and node.name == "self"):
            return f"no name {node.name}"
        if isinstance(node, nodes.Const) and isinstance(node.value, str):
            _characters(node.value)
        if isinstance(node, nodes.Const) and isinstance(node.value, float) and not math.isfinite(node.value):
            return "a number beyond the range of floats"
        return None

    def _unknown_filter(self, node: nodes.Filter) -> str | None:
        """A filter that is not there, also one that another filter is to use: `map('random')`."""
        if node.name not in self.FILTERS:
            return f"no filter {node.name!r}; there are {', '.join(self.FILTERS)}"
        place = {"map": 0, "select": 0, "reject": 0, "selectattr": 1, "rejectattr": 1}.get(node.name)
        if place is None or len(node.args) <= place or not isinstance(node.args[place], nodes.Const):
            return None
        used = node.args[place].as_const()
        known = self.FILTERS if node.name == "map" else self.TESTS
        return None if used in known else f"no {'filter' if node.name == 'map' else 'test'} {used!r}"
