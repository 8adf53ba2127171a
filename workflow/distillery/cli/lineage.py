"""`distillery why`: where a result comes from and why it is stale. `distillery accept`: keep it all the same."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.tree import Tree

from distillery.cli.common import ConfigFiles, Console, exit_on_user_error
from distillery.cli.targets import FORM, nodes_of
from distillery.jobs.cache import ArtifactCache
from distillery.jobs.job import as_list
from distillery.planning.accept import accept_results
from distillery.planning.forecast import Forecast, JobStatus, forecast_jobs
from distillery.planning.lineage import of_question
from distillery.planning.snakemake_graph import Node
from distillery.planning.staleness import differences, recorded

UNBROKEN = 1000
"""Width of the tree: a terminal wraps long lines itself, and a path that was not cut can be copied."""

MARKS = {JobStatus.DONE: "green", JobStatus.RESTORED: "cyan", JobStatus.COMPUTED: "red", JobStatus.DEPENDS: "yellow"}


def why(
    target: Annotated[str, typer.Argument(help=f"{FORM[0].upper()}{FORM[1:]}.")],
    question: Annotated[
        str | None, typer.Option(help="Show the requests and texts about this question, by its qid.")
    ] = None,
    configfile: ConfigFiles = None,
) -> None:
    """Say where a result comes from, down to samples and prompts, and, if it is stale, what changed."""
    out = Console()
    with exit_on_user_error():
        nodes, (node,) = nodes_of([target], configfile)
        _explain(out, nodes, node)
        if question is not None:
            _print_question(out, nodes, question)


def _explain(out: Console, nodes: Sequence[Node], node: Node) -> None:
    """Print whether the outputs of a job are up to date, and the tree of what they come from."""
    forecasts, _ = forecast_jobs(nodes, ArtifactCache.from_environment())
    by_node = {id(forecast.node): forecast for forecast in forecasts}
    top = by_node[id(node)]
    makers = {path: maker for maker in nodes for path in maker.job.outputs.values()}
    behind = _behind(node, makers)
    stale = [found for found in forecasts if found.status is not JobStatus.DONE and id(found.node) in behind]
    _print_verdict(out, top, stale)
    tree = Tree(_line(top))
    _grow(tree, node, makers, by_node, set())
    Console(file=out.file, width=UNBROKEN).print(tree)


def _behind(node: Node, makers: Mapping[Path, Node]) -> set[int]:
    """A job and all that its inputs come from, by identity."""
    found = {id(node)}
    todo = [node]
    while todo:
        inputs = [path for paths in todo.pop().job.inputs.values() for path in as_list(paths)]
        for maker in (makers[path] for path in inputs if path in makers):
            if id(maker) not in found:
                found.add(id(maker))
                todo.append(maker)
    return found


def _print_question(out: Console, nodes: Sequence[Node], question: str) -> None:
    for node in nodes:
        for text in of_question(node, question):
            out.rule(escape(f"{node.rule}: {node.main_output}"))
            out.print(text, markup=False, highlight=False, soft_wrap=True)


def _print_verdict(out: Console, top: Forecast, stale: Sequence[Forecast]) -> None:
    if top.status is JobStatus.DONE:
        out.print("[green]up to date[/]")
        return
    first = stale[0]  # inputs come first in the graph: the rest follows from it
    causes = _causes(first)
    out.print(f"[red]stale[/], from {escape(str(first.node.main_output))} on: {escape(next(causes))}", soft_wrap=True)
    for cause in causes:
        out.print(f"  also {escape(cause)}", soft_wrap=True)
    if first is not top:
        out.print(f"this output itself: {escape(_becomes(top))}", soft_wrap=True)


def _causes(forecast: Forecast) -> Iterator[str]:
    record = recorded(forecast.node)
    found = [] if record is None else differences(record, forecast)
    if record is None:
        yield "it was never made here"
    elif not found:
        yield f"its key is the same; Snakemake says: {forecast.node.reason}"
    yield from map(str, found)


def _becomes(forecast: Forecast) -> str:
    recomputed = ", ".join(map(str, forecast.recomputed_inputs))
    return {
        JobStatus.DONE: "up to date",
        JobStatus.RESTORED: "the cache has it under its new key",
        JobStatus.COMPUTED: "will be computed",
        JobStatus.DEPENDS: f"computed again if {recomputed} changes",
    }[forecast.status]


def _line(forecast: Forecast) -> str:
    """A job in the tree: its output and what becomes of it, and who made it when, on record."""
    node, record = forecast.node, recorded(forecast.node)
    text = f"[bold]{node.rule}[/] {escape(str(node.main_output))} [{MARKS[forecast.status]}]{forecast.status}[/]"
    if record is None:
        return text
    work = ", ".join(_counts(record.get("work") or {}))
    lines = [
        text,
        f"[dim]{record['finished']} on {escape(record['host'])} in {record['seconds']} s, key {record['key'][:12]}"
        + (f"; {escape(work)}[/]" if work else "[/]"),
    ]
    lines += [
        f"[magenta]accepted by {escape(decision['by'])} at {decision['at']}: {escape(decision['reason'])}[/]"
        for decision in record.get("accepted", [])
    ]
    return "\n".join(lines)


def _counts(work: Mapping[str, Any]) -> Iterator[str]:
    """What a job counted of its work: numbers, and facts in words such as the kind of sandbox."""
    for name, value in work.items():
        if name != "parameters":
            yield f"{name} {value:,}" if isinstance(value, int | float) else f"{name} {value}"


def _grow(tree: Tree, node: Node, makers: dict[Path, Node], by_node: dict[int, Forecast], seen: set[int]) -> None:
    for name, paths in node.job.inputs.items():
        before = list(dict.fromkeys(id(makers[path]) for path in as_list(paths) if path in makers))
        for path in as_list(paths):
            if path not in makers:
                tree.add(f"{name}: {escape(str(path))}")
        for number in before:
            forecast = by_node[number]
            if number in seen:
                tree.add(f"[dim]{name}: {escape(str(forecast.node.main_output))}, as above[/]")
                continue
            seen.add(number)
            _grow(tree.add(f"{name}: {_line(forecast)}"), forecast.node, makers, by_node, seen)


def accept(
    targets: Annotated[list[str], typer.Argument(help=f"Results that are as good as new, each {FORM}.")],
    reason: Annotated[str, typer.Option(help="Why; it stays in the provenance record.")],
    upstream: Annotated[bool, typer.Option("--upstream", help="And everything stale that they come from.")] = False,
    configfile: ConfigFiles = None,
) -> None:
    """Accept stale results on record: the next run restores them instead of computing them again."""
    out = Console()
    with exit_on_user_error():
        nodes, wanted = nodes_of(targets, configfile)
        cache = ArtifactCache.from_environment()
        if upstream:
            forecasts, _ = forecast_jobs(nodes, cache)
            wanted = [
                forecast.node for forecast in forecasts if forecast.status in {JobStatus.COMPUTED, JobStatus.DEPENDS}
            ]
        for node, differing in accept_results(nodes, wanted, reason, cache, skip=upstream):
            out.print(f"accepted {escape(str(node.main_output))}", soft_wrap=True)
            for difference in differing:
                out.print(f"  {escape(str(difference))}", soft_wrap=True)
