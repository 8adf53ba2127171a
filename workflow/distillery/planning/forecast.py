"""What a run would do, before it does anything: which jobs the caches answer, which are computed, which depend.

Walks the graph from the sources on. A planned job whose inputs are known has a key; an entry under that key tells what
its outputs will be, so that the jobs behind it are known too. Behind a job that is computed nothing is known for
certain: its output may come out as it was, and then the caches answer the rest.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from distillery.files import sha256_file
from distillery.jobs.cache import ArtifactCache
from distillery.jobs.cache_entries import Entry
from distillery.jobs.job import as_list, key_of
from distillery.planning.snakemake_graph import Node


class JobStatus(StrEnum):
    """What becomes of a job in the next run."""

    DONE = "done"
    RESTORED = "restored"
    COMPUTED = "computed"
    DEPENDS = "depends"
    """Restored if the jobs before it give what they gave before, else computed."""


@dataclass(frozen=True)
class Content:
    """What a path will hold: a digest, and a file that has these bytes now, if there is one."""

    sha256: str
    file: Path | None


@dataclass(frozen=True)
class Forecast:
    """One job and what becomes of it.

    `recomputed_inputs` are the inputs whose content is not known yet. `key` and `entry` are None where that is so.
    """

    node: Node
    status: JobStatus
    input_digests: dict[str, list[str]] | None = None
    recomputed_inputs: list[Path] = field(default_factory=list)
    entry: Entry | None = None

    @cached_property
    def key(self) -> str | None:
        if self.input_digests is None:
            return None
        return key_of(self.node.job.stage, self.input_digests, self.node.job.params)


class Contents:
    """What paths will hold when the jobs seen so far are done."""

    def __init__(self) -> None:
        self._changed: dict[Path, Content | None] = {}

    def of(self, path: Path) -> Content | None:
        """The content of a path; None when nobody can tell yet."""
        if path in self._changed:
            return self._changed[path]
        return Content(sha256_file(path), path) if path.is_file() else None

    def readable(self, path: Path) -> Path | None:
        """A file that holds now what `path` will hold."""
        content = self.of(path)
        return content.file if content and content.file and content.file.exists() else None

    def unknown(self, paths: Iterable[Path]) -> None:
        self._changed.update(dict.fromkeys(paths))

    def restored(self, outputs: dict[str, Path], entry: Entry, cache: ArtifactCache) -> None:
        for name, path in outputs.items():
            artifact = entry.outputs.get(name)
            if artifact is not None and not artifact.folder:
                held = artifact.files[""]
                self._changed[path] = Content(held.sha256, cache.readable_object(held))


def forecast_jobs(nodes: Iterable[Node], cache: ArtifactCache) -> tuple[list[Forecast], Contents]:
    """What becomes of each job, in the order of the graph, and what paths will hold as far as that is known."""
    contents = Contents()
    forecasts: list[Forecast] = []
    for node in nodes:
        if not node.planned:
            forecasts.append(Forecast(node, JobStatus.DONE))
            continue
        inputs = {
            name: [contents.of(path) for path in as_list(paths)] for name, paths in sorted(node.job.inputs.items())
        }
        recomputed = [
            path
            for name, paths in node.job.inputs.items()
            for path, content in zip(as_list(paths), inputs[name], strict=True)
            if content is None
        ]
        if recomputed:
            contents.unknown(node.job.results.values())
            forecasts.append(Forecast(node, JobStatus.DEPENDS, recomputed_inputs=recomputed))
            continue
        digests = {name: [content.sha256 for content in found if content] for name, found in inputs.items()}
        computed = Forecast(node, JobStatus.COMPUTED, input_digests=digests)
        entry = cache.find(computed.key, node.job.results, use=False) if computed.key else None
        if entry is None:
            contents.unknown(node.job.results.values())
            forecasts.append(computed)
        else:
            contents.restored(node.job.results, entry, cache)
            forecasts.append(Forecast(node, JobStatus.RESTORED, input_digests=digests, entry=entry))
    return forecasts, contents
