"""`distillery why`: where a result comes from and why it is stale. `distillery accept`: adopt it all the same."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from distillery.cli.common import ConfigFiles, exit_on_user_error, graph_here, node_of, output_of
from distillery.jobs.cache import ArtifactCache
from distillery.jobs.job import as_list
from distillery.planning.accept import adopt
from distillery.planning.forecast import Forecast, JobStatus, forecast
from distillery.planning.lineage import of_question
from distillery.planning.snakemake_graph import Node
from distillery.planning.staleness import differences, recorded

MARKS = {JobStatus.DONE: "green", JobStatus.RESTORED: "cyan", JobStatus.COMPUTED: "red", JobStatus.DEPENDS: "yellow"}


def why(
    target: Annotated[str, typer.Argument(help="An output, or a cell: experiment/recipe[/model][/task][/seedN].")],
    question: Annotated[
        str | None, typer.Option(help="Show what was asked and written for this question, by its qid.")
    ] = None,
    configfile: ConfigFiles = None,
) -> None:
    """Say where a result comes from, down to samples and prompts, and, if it is stale, what changed."""
    out = Console()
    with exit_on_user_error():
        output = output_of(target, configfile)
        nodes = graph_here([output], configfile)
        told, _ = forecast(nodes, ArtifactCache.from_environment())
        by_node = {id(one.node): one for one in told}
        top = by_node[id(node_of(nodes, output))]
        stale = [one for one in told if one.status is not JobStatus.DONE]
        _print_verdict(out, top, stale)
        makers = {path: node for node in nodes for path in node.job.outputs.values()}
        tree = Tree(_line(top))
        _grow(tree, top.node, makers, by_node, set())
        out.print(tree)
        if question is not None:
            for node in nodes:
                for text in of_question(node, question):
                    out.rule(escape(f"{node.rule}: {node.main_output}"))
                    out.print(text, markup=False, highlight=False, soft_wrap=True)


def _print_verdict(out: Console, top: Forecast, stale: Sequence[Forecast]) -> None:
    if top.status is JobStatus.DONE:
        out.print("[green]up to date[/]")
        return
    first = stale[0]  # inputs come first in the graph: what is behind it follows from it
    causes = _causes(first)
    out.print(f"[red]stale[/], from {escape(str(first.node.main_output))} on: {escape(next(causes))}")
    for cause in causes:
        out.print(f"  also {escape(cause)}")
    if first is not top:
        out.print(f"this output itself: {_becomes(top)}")


def _causes(one: Forecast) -> Iterator[str]:
    record = recorded(one.node)
    found = [] if record is None else differences(record, one)
    if record is None:
        yield "it was never made here"
    elif not found:
        yield f"its key is the same; Snakemake says: {one.node.reason}"
    yield from map(str, found)


def _becomes(one: Forecast) -> str:
    return {
        JobStatus.DONE: "up to date",
        JobStatus.RESTORED: "the cache has it under its new key",
        JobStatus.COMPUTED: "will be computed",
        JobStatus.DEPENDS: f"made anew if {', '.join(str(path) for path in one.recomputed_inputs)} comes out otherwise",
    }[one.status]


def _line(one: Forecast) -> str:
    node, record = one.node, recorded(one.node)
    text = f"[bold]{node.rule}[/] {escape(str(node.main_output))} [{MARKS[one.status]}]{one.status}[/]"
    if record is None:
        return text
    work = ", ".join(f"{name} {count:,}" for name, count in record.get("work", {}).items() if name != "parameters")
    lines = [
        text,
        f"[dim]{record['finished']} on {escape(record['host'])} in {record['seconds']} s, key {record['key'][:12]}"
        + (f"; {escape(work)}[/]" if work else "[/]"),
    ]
    lines += [
        f"[magenta]accepted by {escape(one['by'])} at {one['at']}: {escape(one['reason'])}[/]"
        for one in record.get("accepted", [])
    ]
    return "\n".join(lines)


def _grow(tree: Tree, node: Node, makers: dict[Path, Node], by_node: dict[int, Forecast], seen: set[int]) -> None:
    for name, paths in node.job.inputs.items():
        behind = list(dict.fromkeys(id(makers[path]) for path in as_list(paths) if path in makers))
        for path in as_list(paths):
            if path not in makers:
                tree.add(f"{name}: {escape(str(path))}")
        for number in behind:
            one = by_node[number]
            if number in seen:
                tree.add(f"[dim]{name}: {escape(str(one.node.main_output))}, as above[/]")
                continue
            seen.add(number)
            _grow(tree.add(f"{name}: {_line(one)}"), one.node, makers, by_node, seen)


def accept(
    targets: Annotated[list[str], typer.Argument(help="Outputs or cells whose results are as good as new.")],
    reason: Annotated[str, typer.Option(help="Why; it stays in the provenance record.")],
    upstream: Annotated[bool, typer.Option("--upstream", help="And everything stale that they come from.")] = False,
    configfile: ConfigFiles = None,
) -> None:
    """Adopt stale results on record: the next run restores them instead of computing them anew."""
    out = Console()
    with exit_on_user_error():
        outputs = [output_of(target, configfile) for target in targets]
        nodes = graph_here(outputs, configfile)
        cache = ArtifactCache.from_environment()
        wanted = [node_of(nodes, output) for output in outputs]
        if upstream:
            told, _ = forecast(nodes, cache)
            wanted = [one.node for one in told if one.status in {JobStatus.COMPUTED, JobStatus.DEPENDS}]
        for node, found in adopt(nodes, wanted, reason, cache, skip=upstream):
            out.print(f"accepted {escape(str(node.main_output))}", soft_wrap=True)
            for one in found:
                out.print(f"  {escape(str(one))}", soft_wrap=True)
