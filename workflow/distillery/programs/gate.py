r"""The gate: what a program may say at all. It reads the text and never runs it.

A filter in front of the sandbox, not a boundary: it turns away what arithmetic never needs, so that a refused program
is counted under a rule's name instead of failing somewhere, and so that an attack has to pass two unlike layers.

    size, encoding, identifier, nesting    what the text may consist of
    syntax_node                            only the kinds of syntax that arithmetic needs (an allow-list)
    solution                               exactly one function `solution()` without arguments, at the top
    import, module                         five modules, by their arithmetic attributes only
    name, attribute, format                only harmless built-in names (an allow-list), no attribute that leads inside
    scope, exception_group, async, class, clock    kinds of refused syntax that have a name of their own

>>> refusal("def solution():\n    return 6 * 7")
>>> refusal("import os\ndef solution():\n    return os.getpid()")
'import'

Text that does not parse passes: it cannot run, and `syntax` is the outcome that says so.
"""

import ast
import builtins
import io
import re
import string
import tokenize
from collections.abc import Iterator

from distillery.programs.syntax import MAX_BYTES, Unparsable, parse

MAX_NESTING = 50
"""Deepest nesting of brackets, and of unary operators in a row."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


MODULES: dict[str, frozenset[str]] = {
    "math": _set(
        "acos acosh asin asinh atan atan2 atanh cbrt ceil comb copysign cos cosh degrees dist e exp exp2 expm1 fabs "
        "factorial floor fmod frexp fsum gamma gcd hypot inf isclose isfinite isinf isnan isqrt lcm ldexp lgamma log "
        "log10 log1p log2 modf nan nextafter perm pi pow prod radians remainder sin sinh sqrt tan tanh tau trunc ulp"
    ),
    "datetime": _set("MAXYEAR MINYEAR UTC date datetime time timedelta timezone"),
    "fractions": _set("Fraction"),
    "itertools": _set(
        "accumulate chain combinations combinations_with_replacement compress count cycle dropwhile filterfalse "
        "groupby islice pairwise permutations product repeat starmap takewhile tee zip_longest"
    ),
    "collections": _set("ChainMap Counter OrderedDict defaultdict deque namedtuple"),
}
"""Module -> what of it may be used. Everything else leads out: `fractions.sys`, `datetime.sys`, `collections._sys`."""

BUILTINS = _set(
    "abs all any ascii bin bool bytearray bytes callable chr complex dict divmod enumerate filter float format "
    "frozenset hex int isinstance issubclass iter len list map max min next oct ord pow print range repr reversed "
    "round set slice sorted str sum tuple type zip True False None NotImplemented Ellipsis "
    "ArithmeticError AssertionError AttributeError BaseException EOFError Exception FloatingPointError IndexError "
    "KeyError LookupError MemoryError NameError NotImplementedError OverflowError RecursionError RuntimeError "
    "StopIteration SystemExit KeyboardInterrupt GeneratorExit ImportError OSError "
    "TimeoutError TypeError UnboundLocalError UnicodeError ValueError ZeroDivisionError"
)
"""Built-in names that a program may use. Every other built-in of the running Python is refused, also as the name of a
variable: `eval`, `open`, `getattr`, `object`, and `id` and `hash`, whose values change from run to run."""

SITE_NAMES = _set("exit quit copyright credits license help")
"""Names that Python adds when it starts for a person."""

NAMES = (frozenset(dir(builtins)) | SITE_NAMES) - BUILTINS
"""Names that are refused."""

NODES: tuple[type[ast.AST], ...] = (
    *(ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Lambda, ast.Yield, ast.YieldFrom),
    *(ast.Assign, ast.AugAssign, ast.AnnAssign, ast.NamedExpr, ast.Delete, ast.Expr, ast.Pass),
    *(ast.For, ast.While, ast.If, ast.Break, ast.Continue, ast.Try, ast.ExceptHandler, ast.Raise, ast.Assert),
    *(
        ast.Import,
        ast.ImportFrom,
        ast.alias,
        ast.Call,
        ast.keyword,
        ast.Attribute,
        ast.Subscript,
        ast.Slice,
        ast.Starred,
    ),
    *(ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.boolop, ast.operator, ast.unaryop, ast.cmpop),
    *(ast.Constant, ast.Name, ast.expr_context, ast.JoinedStr, ast.FormattedValue),
    *(ast.List, ast.Tuple, ast.Set, ast.Dict, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
    *(ast.comprehension, ast.Match, ast.match_case, ast.MatchValue, ast.MatchSingleton, ast.MatchSequence),
    *(ast.MatchMapping, ast.MatchStar, ast.MatchAs, ast.MatchOr),
)
"""Kinds of syntax that a program may have. Others are refused, those of later Pythons too: class patterns read any
attribute of a value, `with` calls methods by their names."""

CLOCK = frozenset({"now", "today", "utcnow"})
"""Attributes that read the clock: a program's value would depend on the day of the run."""
FRAMES = ("gi_", "cr_", "ag_", "tb_", "co_", "f_", "mro")
"""Beginnings of attributes that walk from a generator, a traceback or a code object to its surroundings."""

# Controls of text direction, invisible joiners, and the byte order mark; a coding line in the first two lines.
_INVISIBLE = re.compile("[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufff9-\ufffb]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_CODING = re.compile(r"\A(?:[^\n]*\n)?[ \t\f]*#[^\n]*?coding[:=]")


def refusal(source: str) -> str | None:
    """The rule under which `source` is turned away, or None if it may run. Safe on any text, about 0.3 ms a program."""
    if len(source) > MAX_BYTES:
        return "size"
    if _INVISIBLE.search(source) or _CONTROL.search(source) or _CODING.match(source):
        return "encoding"
    if _bracket_depth(source) > MAX_NESTING:
        return "nesting"
    try:
        tree = parse(source)
    except Unparsable as fault:
        if fault.rule == "syntax":
            return None if source.isascii() or _plain_identifiers(source) else "identifier"
        return fault.rule
    if not source.isascii() and not _plain_identifiers(source):
        return "identifier"
    if _unary_depth(tree) > MAX_NESTING:
        return "nesting"
    return _Inspection(tree).rule()


def _bracket_depth(source: str) -> int:
    """Deepest nesting of brackets, those in strings and comments included: it only has to be cheap and not too low."""
    deepest = now = 0
    for sign in re.findall(r"[()\[\]{}]", source):
        now = now + 1 if sign in "([{" else max(0, now - 1)
        deepest = max(deepest, now)
    return deepest


def _unary_depth(tree: ast.Module) -> int:
    deepest = 0
    inner: set[int] = set()
    for node in ast.walk(tree):  # breadth first: the outer one of a chain comes before the inner ones
        if isinstance(node, ast.UnaryOp) and id(node) not in inner:
            run: ast.expr = node
            length = 0
            while isinstance(run, ast.UnaryOp):
                length, run = length + 1, run.operand
                inner.add(id(run))
            deepest = max(deepest, length)
    return deepest


def _plain_identifiers(source: str) -> bool:
    """Whether letters beyond ASCII stand in strings and comments only: elsewhere two names can look like one."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            # 3.12 splits f-strings into parts; their text is a string's, their expressions are not
            text = tokenize.tok_name[token.type] in ("STRING", "COMMENT", "FSTRING_MIDDLE")
            if not text and not token.string.isascii():
                return False
    except (tokenize.TokenError, SyntaxError):  # an unfinished text: what came before was looked at
        return True
    return True


def _names(node: ast.AST) -> Iterator[str]:
    """Every name that a node binds or reads, attributes apart."""
    match node:
        case ast.Name(id=name) | ast.arg(arg=name):
            yield name
        case ast.FunctionDef(name=name):
            yield name
        case ast.alias(name=name, asname=other):
            yield from name.split(".")
            if other:
                yield other
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
        case ast.keyword(arg=str(name)):
            yield name


def _bound(node: ast.AST) -> Iterator[str]:
    """Every name that a node binds or deletes in the scope that it is part of."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.FunctionDef(name=name):
            yield name
        case ast.alias(name=name, asname=other):
            yield other or name.split(".")[0]
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name


class _Inspection:
    """One walk over a syntax tree; the first rule that is broken counts."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.modules: dict[str, str] = {}  # name in the program -> module
        self.called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        self.owners = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        compared = [
            side for node in ast.walk(tree) if isinstance(node, ast.Compare) for side in (node.left, *node.comparators)
        ]
        self.compared_types = {
            id(side.func)
            for side in compared
            if isinstance(side, ast.Call) and len(side.args) == 1 and not side.keywords
        }

    def rule(self) -> str | None:
        nodes = list(ast.walk(self.tree))
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom) and (rule := self._import(node)):
                return rule
        for node in nodes:
            rule = self._construct(node) or self._name(node)
            if rule is None and isinstance(node, ast.Attribute):
                rule = self._attribute(node)
            if rule:
                return rule
        return None if self._one_solution(nodes) else "solution"

    def _import(self, node: ast.Import | ast.ImportFrom) -> str | None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name not in MODULES:
                    return "import"
                self.modules[alias.asname or alias.name] = alias.name
            return None
        if node.level or node.module not in MODULES:
            return "import"
        return None if all(alias.name in MODULES[node.module] for alias in node.names) else "module"

    def _construct(self, node: ast.AST) -> str | None:
        match node:
            case ast.Global() | ast.Nonlocal():
                return "scope"
            case ast.TryStar():
                return "exception_group"
            case (
                ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith() | ast.Await() | ast.comprehension(is_async=1)
            ):
                return "async"
            case ast.ClassDef():
                return "class"
        return None if isinstance(node, NODES) else "syntax_node"

    def _name(self, node: ast.AST) -> str | None:
        for name in _names(node):
            if not name.isascii():
                return "identifier"
            if (name.startswith("_") and name != "_") or name in NAMES:
                return "name"
        if isinstance(node, ast.Name):
            if node.id == "type" and id(node) not in self.compared_types:  # a class that is called may make classes
                return "class"
            if node.id in self.modules and id(node) not in self.owners:
                return "module"
        return None

    def _attribute(self, node: ast.Attribute) -> str | None:
        if not node.attr.isascii():
            return "identifier"
        if _inside(node.attr):
            return "attribute"
        if isinstance(node.value, ast.Name) and node.value.id in self.modules:
            return None if node.attr in MODULES[self.modules[node.value.id]] else "module"
        if node.attr in CLOCK:
            return "clock"
        if node.attr == "format_map" or (node.attr == "format" and not self._plain_format(node)):
            return "format"
        return None

    def _plain_format(self, node: ast.Attribute) -> bool:
        """Whether this is `"...".format(...)` whose fields are plain: `{0.__class__}` walks as attributes do."""
        if id(node) not in self.called or not isinstance(node.value, ast.Constant):
            return False
        text = node.value.value
        try:
            fields = list(string.Formatter().parse(text)) if isinstance(text, str) else [("", "._", "", None)]
        except ValueError:  # raises when it runs, too
            return True
        return all(re.fullmatch(r"\w*", name or "") and "{" not in (spec or "") for _, name, spec, _ in fields)

    def _one_solution(self, nodes: list[ast.AST]) -> bool:
        at_top = [node for node in self.tree.body if isinstance(node, ast.FunctionDef) and node.name == "solution"]
        bound = sum(name == "solution" for node in nodes for name in _bound(node))
        if len(at_top) != 1 or bound != 1:
            return False
        arguments, decorators = at_top[0].args, at_top[0].decorator_list
        taken = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        return not any(taken) and not decorators


def _inside(attribute: str) -> bool:
    return attribute.startswith(("_", *FRAMES))
