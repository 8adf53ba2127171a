"""Accept results under the key that their jobs have now, where a person judges a change harmless, on record.

A refactoring changes the code digest of a training, and so its key. `accept` keeps the stored outputs as the result of
the current job. Snakemake still plans it, and the cache answers. The provenance record keeps who accepted it, when, why
and what had changed.
"""

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime

from distillery.errors import UserError
from distillery.files import sha256_file
from distillery.jobs.cache import ArtifactCache
from distillery.planning.forecast import Forecast, JobStatus, forecast_jobs
from distillery.planning.snakemake_graph import Node
from distillery.planning.staleness import Difference, differences, recorded


def accept_results(
    nodes: Sequence[Node], wanted: Sequence[Node], reason: str, cache: ArtifactCache, *, skip: bool = False
) -> list[tuple[Node, list[Difference]]]:
    """Accept the outputs of some jobs, inputs first.

    Args:
        nodes: The whole graph. `wanted`: the jobs whose outputs are judged as good as new.
        skip: Pass over jobs that are not stale, or no longer once the jobs before them are accepted.

    Returns:
        The accepted jobs in the order of the graph, and for each what had changed.

    Raises:
        UserError: A job is not stale, its inputs are computed again by a job that is not accepted, its outputs are not
            what its record says, or there is no cache to keep the decision in.
    """
    if cache.root is None:
        raise UserError("the cache is switched off", key="DISTILLERY_CACHE", remedy="Name a folder")
    accepted = []
    for node in nodes:
        if node in wanted:
            (forecast,) = [each for each in forecast_jobs(nodes, cache)[0] if each.node is node]
            if not (skip and forecast.status in {JobStatus.DONE, JobStatus.RESTORED}):
                accepted.append((node, _accept(forecast, reason, cache)))
    return accepted


def _accept(forecast: Forecast, reason: str, cache: ArtifactCache) -> list[Difference]:
    node = forecast.node
    if forecast.status in {JobStatus.DONE, JobStatus.RESTORED}:
        raise UserError(
            "this is not stale: " + ("nothing is planned" if forecast.status is JobStatus.DONE else "the cache has it"),
            file=node.main_output,
        )
    if forecast.status is JobStatus.DEPENDS:
        raise UserError(
            f"its inputs are computed again: {', '.join(map(str, forecast.recomputed_inputs))}",
            file=node.main_output,
            remedy="Accept these first, or all together with --upstream",
        )
    record = recorded(node)
    if record is None:
        raise UserError(
            "there is no result to accept: it was never made here", file=node.main_output, remedy="Run the workflow"
        )
    for name, digest in record["output_digests"].items():
        path = node.job.results[name]
        if not path.is_file() or sha256_file(path) != digest:
            raise UserError("this is not the file that its job made", file=path, remedy="Run the workflow")
    missing = [path for path in node.job.results.values() if not path.exists()]
    if missing:
        raise UserError("this output is missing", file=missing[0], remedy="Run the workflow")
    found = differences(record, forecast)
    assert forecast.key is not None and forecast.input_digests is not None
    accepted = {
        "by": getpass.getuser(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": reason,
        "computed_under": record["key"],
        "differences": [{"component": each.component, "old": each.old, "new": each.new} for each in found],
    }
    entry = cache.store(
        forecast.key,
        node.job.stage,
        node.job.results,
        {
            **record,
            "key": forecast.key,
            "params": dict(node.job.params),
            "input_digests": forecast.input_digests,
            "accepted": [*record.get("accepted", []), accepted],
        },
    )
    if entry is None:
        raise UserError("the cache cannot be written", key="DISTILLERY_CACHE", value=cache.root)
    return found
