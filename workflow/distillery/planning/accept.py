"""Adopt results under the key that their jobs have now, where a person judges a change harmless, on record.

A refactoring changes the code digest of a training, and so its key. `accept` keeps the outputs that are there as the
result of the job as it stands now; Snakemake still plans it, and the cache answers. Who did it, when, why and what had
changed stays in the provenance record for good.
"""

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime

from distillery.errors import UserError
from distillery.files import sha256_file
from distillery.jobs.cache import ArtifactCache
from distillery.planning.forecast import Forecast, JobStatus, forecast
from distillery.planning.snakemake_graph import Node
from distillery.planning.staleness import Difference, differences, recorded


def adopt(
    nodes: Sequence[Node], wanted: Sequence[Node], reason: str, cache: ArtifactCache, *, skip: bool = False
) -> list[tuple[Node, list[Difference]]]:
    """Adopt the outputs of some jobs, inputs first.

    Args:
        nodes: The whole graph. `wanted`: the jobs whose outputs are judged as good as new.
        skip: Pass over those that need no adoption, or no longer once the jobs before them are adopted.

    Returns:
        The jobs that were adopted, in the order of the graph, and for each what had changed.

    Raises:
        UserError: A job is not stale, or its inputs are made anew by a job that is not adopted, or its outputs are not
            what its record says, or there is no cache to keep the decision in.
    """
    if cache.root is None:
        raise UserError("the cache is switched off", key="DISTILLERY_CACHE", remedy="Name a folder")
    found = []
    for node in nodes:
        if node in wanted:
            (one,) = [each for each in forecast(nodes, cache)[0] if each.node is node]
            if not (skip and one.status in {JobStatus.DONE, JobStatus.RESTORED}):
                found.append((node, _adopt(one, reason, cache)))
    return found


def _adopt(one: Forecast, reason: str, cache: ArtifactCache) -> list[Difference]:
    node = one.node
    if one.status in {JobStatus.DONE, JobStatus.RESTORED}:
        raise UserError(
            "this is not stale: " + ("nothing is planned" if one.status is JobStatus.DONE else "the cache has it"),
            file=node.main_output,
        )
    if one.status is JobStatus.DEPENDS:
        raise UserError(
            f"its inputs are made anew: {', '.join(map(str, one.recomputed_inputs))}",
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
    told = differences(record, one)
    assert one.key is not None and one.input_digests is not None
    accepted = {
        "by": getpass.getuser(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": reason,
        "computed_under": record["key"],
        "differences": [{"component": each.component, "old": each.old, "new": each.new} for each in told],
    }
    entry = cache.store(
        one.key,
        node.job.stage,
        node.job.results,
        {
            **record,
            "key": one.key,
            "params": dict(node.job.params),
            "input_digests": one.input_digests,
            "accepted": [*record.get("accepted", []), accepted],
        },
    )
    if entry is None:
        raise UserError("the cache cannot be written", key="DISTILLERY_CACHE", value=cache.root)
    return told
