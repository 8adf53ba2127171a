"""The staleness contract: what a change plans and what it really costs, and the tables of it in docs/staleness.md."""

import ast
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parents[2] / "docs" / "staleness.md"

Edit = Callable[[Any], None]
"""What is done to a project."""


@dataclass(frozen=True)
class Change:
    """A row of the contract."""

    what: str
    make: Edit
    planned: dict[str, int] = field(default_factory=dict)
    computed: dict[str, int] | None = None
    """None: the change is only planned."""
    drawn: int = 0
    target: str | None = None
    """Run only up to here, to keep the test short; the plan is always that of the whole table."""


def no_change(project: Any) -> None:
    """Change nothing."""


def replace(file: str, old: str, new: str) -> Edit:
    return lambda project: project.edit(file, old, new)


def append(file: str, text: str) -> Edit:
    return lambda project: project.append(file, text)


def change_function(name: str) -> Edit:
    """Add a statement without effect to a function of the library: its code has changed, its results have not."""

    def change(project: Any) -> None:
        for path in sorted((project.root / "workflow/distillery").rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            for node in ast.parse(text).body:
                if isinstance(node, ast.FunctionDef) and node.name == name:
                    first = next(part for part in node.body if not is_docstring(part))
                    lines = text.splitlines(keepends=True)
                    lines.insert(first.lineno - 1, f"{' ' * first.col_offset}unused = None\n")
                    path.write_text("".join(lines), encoding="utf-8")
                    return
        raise AssertionError(f"no function {name}")

    return change


def is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def rename_module(old: str, new: str) -> Edit:
    """Rename a module of the library, with all imports of it."""

    def change(project: Any) -> None:
        library = project.root / "workflow"
        for path in [*library.rglob("*.py"), *library.rglob("*.smk")]:
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(f"distillery.{old}", f"distillery.{new}"), encoding="utf-8")
        place, target = (library / "distillery" / f"{name.replace('.', '/')}.py" for name in (old, new))
        place.rename(target)

    return change


def settings(file: str, path: str, value: object) -> Edit:
    """Set one value of a YAML file, by dotted path."""
    *parents, last = path.split(".")

    def change(content: dict) -> None:
        for name in parents:
            content = content.setdefault(name, {})
        content[last] = value

    return lambda project: project.change_yaml(file, change)


def told(counts: dict[str, int]) -> str:
    """Counts of jobs as a cell of the table; the final target is no work and goes without saying."""
    found = {stage: count for stage, count in counts.items() if stage != "all"}
    return ", ".join(f"{stage} {count}" if count > 1 else stage for stage, count in found.items()) or "nothing"


def markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (columns, *rows)]
    lines.insert(1, "|" + "---|" * len(columns))
    return "\n".join(lines)


def documented(part: str, table: str) -> str:
    """The table that the document shows as its `part`; `UPDATE_STALENESS=1` writes `table` there first."""
    text = DOCUMENT.read_text()
    start, end = f"<!-- {part} -->\n", f"\n<!-- end of {part} -->"
    before, rest = text.split(start)
    shown, after = rest.split(end)
    if os.environ.get("UPDATE_STALENESS"):
        DOCUMENT.write_text(before + start + table + end + after)
        return table
    return shown
