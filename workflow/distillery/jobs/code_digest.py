"""What code a stage runs, as one digest: the definitions that its `main` reaches, and what runs on import.

Reached is what a body names, transitively: functions, classes (as a whole), constants, through imports and re-exports,
imports inside functions included. Statements that do something when a module is imported count for every stage that
imports the module. So an unused definition changes nothing, wherever it stands, nor does a comment, a docstring, the
order of definitions, or the name of the file that a definition lies in (`distillery.jobs.definitions`).

Where syntax does not say what is reached, all of the module counts: a module as a value (`getattr(module, name)`, a
registry of modules), `globals()`, a star import, a module that is named by a text. A registry of definitions is a
constant that names them, so all of them count.

Files that are not Python count by their bytes where code says that it reads them. A definition with
`Path(__file__).parent / "templates" / "table.html"` reaches this file; one with `Path(__file__).parent / "templates"`
reaches all files in this folder. Where `__file__` is used otherwise, or a loader gets the name of a package
(`PackageLoader("distillery.evaluation")`), every file beside the module counts that is not Python. Files outside of the
library are inputs of a job, not its code.

Modules that cannot change a result are named in `NEUTRAL`, in one place.
"""

import functools
import hashlib
import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from distillery.files import sha256_file
from distillery.jobs.analyses import Analyses
from distillery.jobs.bindings import PACKAGE, Reference
from distillery.jobs.definitions import Module

LIBRARY = Path(__file__).parents[1]

NEUTRAL = (
    "distillery.errors",  # messages to people; no stage writes one into an output
    "distillery.disk_faults",  # messages too
    "distillery.logs",  # logging
    "distillery.temporary",  # writes beside a place and moves there
    "distillery.jobs",  # runs a job and keeps what it made
    "distillery.sampling.budget",  # stops a run that has spent enough
    "distillery.sampling.store",  # keeps completions as they are; their keys are made in distillery.sampling.requests
)
"""Modules, and packages with all that is in them. A module belongs here only if every output of every stage is the
same, byte for byte, whatever the module does as long as it works at all.

Settings models are not here. A stage validates its parameters again, which gives the same values, but it also uses
properties of sections (`Pairs.reviewed`) and defaults of sections that it makes itself (`released.PAPER`), and these
are in no parameter. Descriptions of settings are left out of the digest as docstrings are. `distillery.files` is not
here either: how it writes JSON is how outputs look."""

LIBRARIES: dict[str, tuple[str, ...]] = {
    "questions": ("jinja2",),
    "compose": ("jinja2",),
    "compose_pairs": ("jinja2",),
    "base_model": ("transformers", "torch", "jinja2"),
    "soft_labels": ("torch", "transformers", "pyarrow"),
    "train": ("torch", "transformers", "trl", "peft"),
    "tables": ("jinja2", "pandas", "pyarrow", "altair", "vl-convert-python"),
    "output_space": ("jinja2", "pandas", "altair", "vl-convert-python"),
    "audit": ("jinja2", "statsmodels"),
}
"""Libraries whose version shapes a stage's output. Sampling has none: completions are keyed by what was requested."""


def code_digest(script: Path) -> str:
    """Hex digest (32 digits) of the definitions that a script's `main` reaches, and of what runs on import.

    Raises:
        SyntaxError: A file of the library or the script is not Python.
    """
    return _library(LIBRARY, script.parent).stage(script.stem).digest


def definition_digests(stage: str) -> dict[str, str]:
    """Qualified name -> digest (16 digits) of each definition that a stage reaches: which one changed, when one has.

    Empty for a stage without a script, as in tests.
    """
    scripts = LIBRARY.parent / "scripts"
    return _library(LIBRARY, scripts).stage(stage).definitions if (scripts / f"{stage}.py").is_file() else {}


def library_versions(stage: str) -> dict[str, str]:
    """major.minor of each library that shapes the output of `stage`; 'absent' for one that is not installed."""
    versions = {}
    for library in LIBRARIES.get(stage, ()):
        try:
            versions[library] = ".".join(metadata.version(library).split("+")[0].split(".")[:2])
        except metadata.PackageNotFoundError:
            versions[library] = "absent"
    return versions


@functools.cache
def _library(root: Path, scripts: Path) -> "Library":
    """Each file is read once per process."""
    return Library.read(root, scripts)


HOOK_OF = {"call": "constructor", "base": "subclass"}
"""What a class defines that runs on each occasion."""
WHOLE = "*"
Node = tuple[str, str]
"""Module and name of a part; `*` is all of the module."""


@dataclass(frozen=True)
class Stage:
    """What a stage reaches: one digest, and qualified name -> digest (16 digits) of each definition."""

    digest: str
    definitions: dict[str, str]


class Library:
    """The modules of the library and the scripts, and what each of their parts refers to.

    Args:
        modules: By dotted name; a script is a module of its own name, without a package.
        packages: Those of them that are packages.
        root: The library's folder, for files that are not Python.
    """

    def __init__(self, modules: Mapping[str, Module], packages: Collection[str], root: Path) -> None:
        self.modules, self.packages, self.root = dict(modules), frozenset(packages), root
        self._targets: dict[Node, list[list[Node | str]]] = {}
        self._files: dict[Node, dict[str, str]] = {}
        self._on_import: dict[str, str] = {}
        self._stages: dict[str, Stage] = {}

    @classmethod
    def read(cls, root: Path, scripts: Path) -> "Library":
        """The library in a folder, and the scripts in another."""
        sources = {_module_name(path.relative_to(root)): path for path in sorted(root.rglob("*.py"))}
        packages = {name for name, path in sources.items() if path.name == "__init__.py"}
        sources |= {path.stem: path for path in sorted(scripts.glob("*.py"))}
        with Analyses(root / "__pycache__") as analyses:
            found = {name: analyses.of(path.read_bytes(), name, name in packages) for name, path in sources.items()}
        return cls(found, packages, root)

    # What a reference means

    def resolve(self, module: str, reference: Reference) -> list[Node | str]:
        """What a reference in a module means: parts of the library, or the names of things outside of it."""
        kind, *path = reference
        match kind:
            case "own":
                return [(module, WHOLE)]
            case "below":
                return [
                    (name, WHOLE) for name in sorted(self.modules) if name.startswith(PACKAGE) and _meets(name, path[0])
                ]
            case "name":
                first, attributes = self._global(module, path[0], set()), path[1:]
            case "from":
                first, attributes = self._member(path[0], path[1], set()), path[2:]
            case _:
                first, attributes = [("module", path[0])], path[1:]
        return [found for each in first for found in self._follow(each, attributes)]

    def _follow(self, found: tuple[str, ...], attributes: list[str]) -> list[Node | str]:
        """Go along attributes as long as they lead through modules."""
        match found:
            case ("text", text):
                return [text]
            case ("part", module, name):
                return [(module, name)]
        module = found[1]
        if _is_neutral(module):
            return ["neutral"]
        if module not in self.modules:
            return [module]
        if not attributes:
            return [(module, WHOLE)]
        members = self._member(module, attributes[0], set())
        return [each for member in members for each in self._follow(member, attributes[1:])]

    def _global(self, module: str, name: str, seen: set[Node]) -> list[tuple[str, ...]]:
        """What a global name of a module means; a name that it does not bind is a builtin."""
        seen.add((module, name))
        found: list[tuple[str, ...]] = []
        for kind, *path in self.modules[module].names.get(name, ()):
            if kind == "part":
                found.append(("part", module, path[0]))
            elif kind == "module":
                found.append(("module", path[0]))
            else:
                found += self._member(path[0], path[1], seen)
        return found or [("text", f"builtins.{name}")]

    def _member(self, module: str, name: str, seen: set[Node]) -> list[tuple[str, ...]]:
        """What `from module import name` gives."""
        if _is_neutral(module) or _is_neutral(f"{module}.{name}"):
            return [("text", f"neutral {name}")]
        if module in self.modules and name in self.modules[module].names and (module, name) not in seen:
            return self._global(module, name, seen)
        if f"{module}.{name}" in self.modules:
            return [("module", f"{module}.{name}")]
        if module in self.modules:  # a star import, a module's __getattr__, __file__: syntax does not say what it is
            return [("part", module, WHOLE)]
        return [("text", f"{module}.{name}")]

    def targets(self, node: Node) -> list[list[Node | str]]:
        """What each reference of a part means, in their order."""
        if node not in self._targets:
            module, name = node
            if name == WHOLE:
                found = [self.resolve(module, ("name", each)) for each in sorted(self.modules[module].names)]
                found += [[(module, each)] for each in self.modules[module].parts if each.startswith("(")]
                if module in self.packages:
                    found += [[(each, WHOLE)] for each in sorted(self.modules) if each.startswith(f"{module}.")]
            else:
                found = [self.resolve(module, reference) for reference in self.modules[module].parts[name].references]
            self._targets[node] = found
        return self._targets[node]

    def files(self, node: Node) -> dict[str, str]:
        """Digests of the files that are not Python and that a part may read, by path below the library."""
        if node not in self._files:
            module, name = node
            beside: tuple[str, ...] = (".",) if module in self.packages else ()
            places = beside if name == WHOLE else self.modules[module].parts[name].files
            folder = self.root.joinpath(*module.split(".")[1:])
            folder = folder if module in self.packages else folder.parent
            found = {path for place in places for path in _data_files(folder / place, self.root)}
            self._files[node] = {path.relative_to(self.root).as_posix(): sha256_file(path) for path in sorted(found)}
        return self._files[node]

    # What is reached

    def stage(self, script: str) -> Stage:
        """What the `main` of a script reaches; all of a script without one."""
        if script not in self._stages:
            root = (script, "main" if "main" in self.modules[script].parts else WHOLE)
            reached, imported = self._reached(root)
            on_import = sorted({self._on_import_digest(module) for module in imported if self.runs(module)})
            digest = hashlib.sha256("\n".join([self._form([root]), *on_import]).encode()).hexdigest()[:32]
            self._stages[script] = Stage(digest, self._shown(reached))
        return self._stages[script]

    def runs(self, module: str) -> list[Node]:
        """Parts of a module that do something when it is imported; starting a job (`run_script`) is none of them."""
        found = []
        for name in self.modules[module].on_import:
            part = self.modules[module].parts[name]
            if part.conditions and all(self._holds(module, condition) for condition in part.conditions):
                continue
            started = [] if part.calls is None else self.resolve(module, ("name", part.calls))
            if started and all(_is_neutral_text(each) for each in started):
                continue
            found.append((module, name))
        return found

    def _holds(self, module: str, condition: str) -> bool:
        """Whether a class does nothing of its own when it is called, or when it is subclassed.

        A class from outside of the library, as pydantic's, keeps its instances and subclasses to itself.
        """
        occasion, name = condition.split(" ")
        found = self.resolve(module, ("name", *name.split(".")))
        if occasion == "call" and not all(isinstance(each, tuple) or _is_neutral_text(each) for each in found):
            return False
        todo = [each for each in found if isinstance(each, tuple)]
        seen: set[Node] = set()
        while todo:
            node = todo.pop()
            if node in seen:
                continue
            seen.add(node)
            part = self.modules[node[0]].parts.get(node[1])  # none for all of a module
            if part is None or part.bases is None or HOOK_OF[occasion] in part.hooks:
                return False
            bases = [each for base in part.bases if base for each in self.resolve(node[0], ("name", *base.split(".")))]
            todo += [each for each in bases if isinstance(each, tuple)]
        return True

    def _reached(self, root: Node) -> tuple[list[Node], list[str]]:
        """All parts that are reached from one, and all modules that are imported on the way."""
        reached: dict[Node, None] = {}
        imported: dict[str, None] = {}
        todo = [root]
        waiting = [root[0]]
        while todo or waiting:
            if waiting:
                module = waiting.pop()
                if module in self.modules and module not in imported and not _is_neutral(module):
                    imported[module] = None
                    todo += self.runs(module)
                    waiting += [*_parents(module), *self.modules[module].imports]
                continue
            node = todo.pop()
            if node in reached:
                continue
            reached[node] = None
            waiting.append(node[0])
            if node[1] != WHOLE:
                waiting += self.modules[node[0]].parts[node[1]].imports
            todo += [each for targets in self.targets(node) for each in targets if isinstance(each, tuple)]
        return list(reached), list(imported)

    def _on_import_digest(self, module: str) -> str:
        if module not in self._on_import:
            self._on_import[module] = self._form(self.runs(module))
        return self._on_import[module]

    def _form(self, roots: Sequence[Node]) -> str:
        """Digest of some parts and all that they reach.

        Parts are numbered as they are met and refer to each other by number: so the places of definitions do not
        count, and two definitions of one name are not mixed up.
        """
        numbers = {node: number for number, node in enumerate(dict.fromkeys(roots))}
        todo = deque(numbers)
        total = hashlib.sha256()
        while todo:
            node = todo.popleft()
            line = [WHOLE if node[1] == WHOLE else self.modules[node[0]].parts[node[1]].form]
            for targets in self.targets(node):
                for each in targets:
                    if isinstance(each, str):
                        line.append(each)
                        continue
                    if each not in numbers:
                        numbers[each] = len(numbers)
                        todo.append(each)
                    line.append(str(numbers[each]))
                line.append(",")
            line += [f"{Path(path).name} {digest}" for path, digest in self.files(node).items()]
            total.update("\0".join([*line, "\n"]).encode())
        return total.hexdigest()

    def _shown(self, reached: Iterable[Node]) -> dict[str, str]:
        """Qualified name -> digest of each part by itself; statements without a name are taken together by module."""
        found: dict[str, list[str]] = {}
        for node in sorted(reached):
            module, name = node
            for path, digest in self.files(node).items():
                found[path] = [digest]
            if name == WHOLE:
                continue
            leaves = [each if isinstance(each, str) else each[1] for targets in self.targets(node) for each in targets]
            shown = f"{module} {name[: name.index(')') + 1]}" if name.startswith("(") else f"{module}.{name}"
            found.setdefault(shown, []).extend([self.modules[module].parts[name].form, *leaves])
        return {name: hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16] for name, parts in found.items()}


def _is_neutral_text(found: Node | str) -> bool:
    return isinstance(found, str) and found.startswith("neutral")


def _is_neutral(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in NEUTRAL)


def _parents(module: str) -> list[str]:
    return [module.rsplit(".", depth)[0] for depth in range(1, module.count(".") + 1)]


def _meets(module: str, beginning: str) -> bool:
    return module.startswith(beginning) or beginning.startswith(f"{module}.")


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join([PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)])


def _data_files(place: Path, root: Path) -> Iterator[Path]:
    """Files that are not Python at a place; outside of the library there are none."""
    place, root = Path(os.path.abspath(place)), Path(os.path.abspath(root))
    if root.is_relative_to(place):
        place = root
    if not place.is_relative_to(root):
        return
    for path in [place] if place.is_file() else place.rglob("*"):
        hidden = any(part.startswith((".", "__pycache__")) for part in path.relative_to(root).parts)
        if path.is_file() and path.suffix not in {".py", ".pyc"} and not hidden:
            yield path
