"""What code a stage really runs, as one digest: its syntax trees without comments and docstrings.

The closure of a stage is its script and the library modules that it imports, transitively, function-level imports
included. A comment, a docstring or another stage's module changes nothing; a line of the grader restarts verification.

Modules that cannot change a result are named as neutral here, in one place. A module belongs in `NEUTRAL` only if every
output of every stage would be the same, byte for byte, whatever that module does as long as it works at all.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

LIBRARY = Path(__file__).parents[1]

SCRIPTS = LIBRARY.parent / "scripts"

NEUTRAL = {
    "distillery",  # the package's docstring and version
    "distillery.errors",  # messages to people
    "distillery.files",  # atomic writing and digests of files
    "distillery.logs",  # logging
    "distillery.jobs",  # runs a job and keeps what it made
    "distillery.sampling.budget",  # stops a run that has spent enough
    "distillery.sampling.store",  # keeps completions; the keys are made in distillery.sampling.requests
    "distillery.config",  # checks settings; their values reach a stage as parameters
}
"""Modules, and packages with all that is in them."""

LIBRARIES: dict[str, tuple[str, ...]] = {
    "questions": ("jinja2",),
    "base_model": ("transformers",),
    "train": ("torch", "transformers", "trl", "peft"),
    "tables": ("pandas", "pyarrow", "altair"),
    "output_space": ("pandas", "altair"),
}
"""Libraries whose version shapes a stage's output. Sampling has none: completions are keyed by what was asked."""


def closure(script: Path) -> list[Path]:
    """Every source file that decides what `script` computes, itself included, sorted."""
    return [Path(name) for name in _closure(str(script))]


@functools.cache
def _closure(script: str) -> tuple[str, ...]:
    found = {script}
    todo = [script]
    while todo:
        for module in _source(todo.pop()).imports:
            path = _module_file(module)
            if path is not None and path not in found:
                found.add(path)
                todo.append(path)
    return tuple(sorted(found))


def code_digest(script: Path) -> str:
    """Hex digest (32 digits) of the syntax trees in the closure of `script`."""
    total = hashlib.sha256()
    for path in closure(script):
        total.update(f"{_shown(path)}={_source(str(path)).digest}\n".encode())
    return total.hexdigest()[:32]


def module_digests(stage: str) -> dict[str, str]:
    """File -> digest (16 digits) of each part of a stage's closure: which one changed, when its digest has."""
    script = SCRIPTS / f"{stage}.py"
    return {_shown(path): _source(str(path)).digest[:16] for path in closure(script)} if script.exists() else {}


def _shown(path: Path) -> str:
    return path.relative_to(LIBRARY).as_posix() if path.is_relative_to(LIBRARY) else path.name


def library_versions(stage: str) -> dict[str, str]:
    """major.minor of each library that shapes the output of `stage`; 'absent' for one that is not installed."""
    versions = {}
    for library in LIBRARIES.get(stage, ()):
        try:
            versions[library] = ".".join(metadata.version(library).split("+")[0].split(".")[:2])
        except metadata.PackageNotFoundError:
            versions[library] = "absent"
    return versions


class _Source(NamedTuple):
    """What one file's text says, read once: a digest of its syntax tree, and the library modules that it imports."""

    digest: str
    imports: tuple[str, ...]


@functools.cache
def _source(path: str) -> _Source:
    tree = ast.parse(Path(path).read_bytes(), filename=path)
    imports = _imports(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_bare_text(part)] or [ast.Pass()]
    return _Source(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), imports)


def _is_bare_text(node: ast.stmt) -> bool:
    """A docstring, or the text that documents an attribute below it: an expression that does nothing."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imports(tree: ast.Module) -> tuple[str, ...]:
    """Names of library modules that a file imports anywhere but under TYPE_CHECKING."""
    names: set[str] = set()
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    library = {name for name in names if name.split(".")[0] == "distillery"}
    parents = {name.rsplit(".", depth)[0] for name in library for depth in range(1, name.count(".") + 1)}
    return tuple(sorted(name for name in library | parents if not _is_neutral(name)))


def _executed(tree: ast.Module) -> Iterable[ast.AST]:
    """All nodes, but for the bodies of `if TYPE_CHECKING:`."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            todo.extend(node.orelse)
        else:
            todo.extend(ast.iter_child_nodes(node))


def _is_neutral(module: str) -> bool:
    return module in NEUTRAL or module.startswith(("distillery.config.", "distillery.jobs."))


@functools.cache
def _module_file(module: str) -> str | None:
    base = LIBRARY.joinpath(*module.split(".")[1:])
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return str(candidate)
    return None
