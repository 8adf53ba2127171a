"""`distillery plan`: what a run would do and cost, before it does anything."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from distillery.cache import ArtifactCache
from distillery.cli.common import ConfigFiles, graph_here, output_of, told_plainly
from distillery.estimates import Estimate, Rates, estimate
from distillery.forecast import Forecast, How, forecast
from distillery.store import CompletionStore


def plan(
    targets: Annotated[list[str] | None, typer.Argument(help="Outputs or cells; without any, all tables.")] = None,
    configfile: ConfigFiles = None,
) -> None:
    """Say what a run would compute, by stage: jobs, samples, tokens to train on, and seconds from measured rates."""
    out = Console()
    with told_plainly():
        outputs = [output_of(target, configfile) for target in targets or []]
        cache = ArtifactCache.from_environment()
        told, contents = forecast(graph_here(outputs, configfile), cache)
        rates, store = Rates.of(Path("results"), cache), CompletionStore()
        rows: dict[str, list[tuple[Forecast, Estimate]]] = defaultdict(list)
        for one in told:
            if one.how is not How.DONE:
                rows[one.node.job.stage].append((one, estimate(one, contents, store, rates)))
    if not rows:
        out.print("nothing to be done: all is up to date")
        return
    table = Table("stage", *(str(how) for how in (How.RESTORED, How.COMPUTED, How.DEPENDS)))
    for heading in ("samples to draw", "there", "tokens to train", "seconds", "money"):
        table.add_column(heading, justify="right")
    table.columns[0].no_wrap = True
    for stage, jobs in rows.items():
        table.add_row(stage, *_cells(jobs))
    table.add_section()
    table.add_row("all", *_cells([pair for jobs in rows.values() for pair in jobs]))
    out.print(table)
    out.print("depends: restored if what is before it comes out as it was, else computed; counted in full.")
    if any(found.seconds is None for jobs in rows.values() for _, found in jobs):
        out.print("A + marks sums without jobs of a kind that has not been measured on this machine yet.")


def _cells(jobs: list[tuple[Forecast, Estimate]]) -> list[str]:
    hows = [sum(one.how is how for one, _ in jobs) for how in (How.RESTORED, How.COMPUTED, How.DEPENDS)]
    found = [cost for _, cost in jobs]
    tokens = [cost.tokens for cost in found]
    seconds = [cost.seconds for cost in found]
    return [
        *(str(count) if count else "" for count in hows),
        _sum([cost.samples for cost in found]),
        _sum([cost.there for cost in found]),
        _sum(tokens),
        _sum(seconds),
        f"{money:.2f}" if (money := sum(cost.money for cost in found)) else "",
    ]


def _sum(values: list[int] | list[int | None] | list[float | None]) -> str:
    known = [value for value in values if value is not None]
    mark = "+" if len(known) < len(values) else ""
    return f"{sum(known):,.0f}{mark}" if sum(known) or mark else ""
