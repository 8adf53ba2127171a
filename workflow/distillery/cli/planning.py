"""`distillery plan`: what a run would do and cost, before it does anything."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from distillery.cli.common import ConfigFiles, exit_on_user_error, graph_here, output_of
from distillery.jobs.cache import ArtifactCache
from distillery.planning.dry_run import DryRun
from distillery.planning.estimates import Estimate, Rates, estimate
from distillery.planning.forecast import Forecast, JobStatus, forecast
from distillery.sampling.store import CompletionStore


def plan(
    targets: Annotated[list[str] | None, typer.Argument(help="Outputs or cells; without any, all tables.")] = None,
    configfile: ConfigFiles = None,
) -> None:
    """Say what a run would compute, by stage: jobs, samples, tokens to train on, and seconds from measured rates."""
    out = Console()
    with exit_on_user_error():
        outputs = [output_of(target, configfile) for target in targets or []]
        cache = ArtifactCache.from_environment()
        told, contents = forecast(graph_here(outputs, configfile), cache)
        rates, dry_run = Rates.of(Path("results"), cache), DryRun(told, contents, CompletionStore())
        rows: dict[str, list[tuple[Forecast, Estimate]]] = defaultdict(list)
        for one in told:
            if one.status is not JobStatus.DONE:
                rows[one.node.job.stage].append((one, estimate(one, contents, dry_run, rates)))
    if not rows:
        out.print("nothing to be done: all is up to date")
        return
    table = Table("stage", *(str(how) for how in (JobStatus.RESTORED, JobStatus.COMPUTED, JobStatus.DEPENDS)))
    for heading in ("samples\nto draw", "there", "tokens\nto train", "seconds", "money"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.columns[0].no_wrap = True
    for stage, jobs in rows.items():
        table.add_row(stage, *_cells(jobs))
    table.add_section()
    table.add_row("all", *_cells([pair for jobs in rows.values() for pair in jobs]))
    out.print(table)
    out.print("depends: restored if what is before it comes out as it was, else computed; counted in full.")
    costs = [cost for jobs in rows.values() for _, cost in jobs]
    if any(cost.at_most for cost in costs):
        out.print(
            "≤: at most so many samples are drawn; what is asked there depends on texts that are not written yet."
        )
    if any(cost.samples is None for cost in costs):
        out.print(
            "A + beside samples marks sums without jobs of which nobody can tell before their questions are there."
        )
    if any(cost.seconds is None for cost in costs):
        out.print("A + marks seconds without jobs of a kind that has not been measured on this machine yet.")


def _cells(jobs: list[tuple[Forecast, Estimate]]) -> list[str]:
    hows = [
        sum(one.status is how for one, _ in jobs) for how in (JobStatus.RESTORED, JobStatus.COMPUTED, JobStatus.DEPENDS)
    ]
    found = [cost for _, cost in jobs]
    at_most = any(cost.at_most for cost in found)
    money = sum(cost.money for cost in found)
    return [
        *(str(count) if count else "" for count in hows),
        _sum([cost.samples for cost in found], at_most),
        _sum([cost.there for cost in found]),
        _sum([cost.tokens for cost in found]),
        _sum([cost.seconds for cost in found], at_most),
        _bounded(f"{money:.2f}", at_most) if money else "",
    ]


def _sum(values: Sequence[float | None], at_most: bool = False) -> str:
    known = [value for value in values if value is not None]
    mark = "+" if len(known) < len(values) else ""
    return _bounded(f"{sum(known):,.0f}{mark}", at_most and sum(known) > 0) if sum(known) or mark else ""


def _bounded(text: str, at_most: bool) -> str:
    return f"≤{text}" if at_most else text
