"""`distillery plan`: what a run would do and cost, before it does anything."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from distillery.cli.common import ConfigFiles, Console, exit_on_user_error, graph_here, new_table, options_of_run
from distillery.cli.targets import FORM, nodes_of
from distillery.files import write_json
from distillery.jobs.cache import ArtifactCache
from distillery.jobs.gpus import gpu_is_here
from distillery.planning.dry_run import DryRun
from distillery.planning.estimates import Estimate, estimate
from distillery.planning.expected import Expectations
from distillery.planning.forecast import Forecast, JobStatus, forecast_jobs
from distillery.planning.rates import Rates
from distillery.sampling.store import CompletionStore

PLANNED = (JobStatus.RESTORED, JobStatus.COMPUTED, JobStatus.DEPENDS)
NONE = "-"

Rows = Mapping[str, Sequence[tuple[Forecast, Estimate]]]


def plan(
    targets: Annotated[list[str] | None, typer.Argument(help=f"Each {FORM}. Without any: all tables.")] = None,
    configfile: ConfigFiles = None,
    write: Annotated[
        Path | None,
        typer.Option(help="Also write the expected seconds of each job, for `snakemake --logger distillery`."),
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="What follows after `--` are options of `snakemake`: forecast that run.")
    ] = False,
) -> None:
    """Forecast a run by stage: jobs, samples, tokens to train on, seconds and money."""
    out = Console(highlight=False)
    with exit_on_user_error():
        if run:
            options = options_of_run(targets or ())
            nodes = graph_here(options.targets, [*(configfile or ()), *options.configfiles], options.config)
        else:
            nodes = nodes_of(targets, configfile)[0] if targets else graph_here([], configfile)
        cache = ArtifactCache.from_environment()
        forecasts, contents = forecast_jobs(nodes, cache)
        rates = Rates.of(Path("results"), cache)
        expectations = Expectations(DryRun(forecasts, contents, CompletionStore()), rates)
        rows: dict[str, list[tuple[Forecast, Estimate]]] = defaultdict(list)
        for forecast in forecasts:
            if forecast.status is not JobStatus.DONE:
                rows[forecast.node.job.stage].append((forecast, estimate(forecast, expectations)))
    if write is not None:
        write_json(write, _seconds_by_output(pair for jobs in rows.values() for pair in jobs))
    if not rows:
        out.print("nothing to be done: all is up to date")
        return
    out.print(_jobs_table(rows))
    out.print()
    asking = {stage: jobs for stage, jobs in rows.items() if any(_has_work(cost) for _, cost in jobs)}
    if asking:
        out.print(_work_table(asking))
    for line in _notes([cost for jobs in rows.values() for _, cost in jobs], rows, rates):
        out.print(line)


def _seconds_by_output(jobs: Iterable[tuple[Forecast, Estimate]]) -> dict[str, float]:
    return {
        str(path): round(cost.seconds, 1)
        for forecast, cost in jobs
        if cost.seconds is not None and forecast.status is not JobStatus.RESTORED
        for path in forecast.node.job.outputs.values()
    }


def _jobs_table(rows: Rows) -> Table:
    """Jobs by what becomes of them, and their seconds."""
    table = new_table("stage", *map(str, PLANNED), "job-seconds")
    for name, jobs in _with_total(rows):
        counts = [sum(forecast.status is status for forecast, _ in jobs) for status in PLANNED]
        table.add_row(name, *(f"{count:,}" if count else NONE for count in counts),
                      _sum([cost.seconds for _, cost in jobs]))  # fmt: skip
    return table


def _work_table(rows: Rows) -> Table:
    """What models will generate and train on."""
    table = new_table("stage", "samples", "at most", "stored", "tokens", "money")
    for name, jobs in _with_total(rows):
        costs = [cost for _, cost in jobs]
        bounded = any(cost.at_most for cost in costs)
        bounds = [cost.samples if cost.bound is None else cost.bound for cost in costs]
        money = sum(cost.money for cost in costs)
        table.add_row(
            name,
            _sum([cost.samples for cost in costs]),
            f"≤{_sum(bounds)}" if bounded else NONE,
            _sum([cost.stored for cost in costs]),
            _sum([cost.tokens for cost in costs]),
            f"{'≤' if bounded else ''}{money:.2f}" if money else NONE,
        )
    return table


def _with_total(rows: Rows) -> Iterable[tuple[str, Sequence[tuple[Forecast, Estimate]]]]:
    yield from rows.items()
    yield "all", [pair for jobs in rows.values() for pair in jobs]


def _has_work(cost: Estimate) -> bool:
    return cost.samples != 0 or cost.tokens != 0 or cost.stored != 0 or cost.at_most


def _notes(costs: Sequence[Estimate], rows: Rows, rates: Rates) -> Iterable[str]:
    yield ""
    yield "Job-seconds are the seconds of all jobs added up. Jobs that run side by side end sooner."
    shipped = [stage for stage, jobs in rows.items() if any(cost.shipped and cost.seconds for _, cost in jobs)]
    measured = any(cost.seconds and not cost.shipped for cost in costs)
    if measured:
        yield "Rates: seconds are measured on this machine" + (
            ", but for the stages in the next line." if shipped else "."
        )
    if shipped:
        which = f"for {', '.join(shipped)}: not measured" if measured else "for all stages: none is measured"
        yield f"Rates: {rates.shipped}, {which} on this machine yet."
        if gpu_is_here():
            yield "This machine has a GPU, for which no rates are shipped: expect fewer seconds."
    yield "depends: restored if the jobs before it give what they gave, else computed; counted in full."
    if any(cost.at_most for cost in costs):
        yield "at most: the number of samples depends on texts that are not written yet; money is for this bound."
    if any(cost.samples is None or cost.tokens is None for cost in costs):
        yield "A + beside samples or tokens marks sums without jobs whose questions or rows are not known yet."
    if any(cost.seconds is None for cost in costs):
        yield "A + beside seconds marks sums without jobs of which no rate is known."


def _sum(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    mark = "+" if len(known) < len(values) else ""
    total = sum(known)
    text = f"{total:.1f}" if 0 < total < 10 and any(isinstance(value, float) for value in known) else f"{total:,.0f}"
    return f"{text}{mark}" if total or mark else NONE
