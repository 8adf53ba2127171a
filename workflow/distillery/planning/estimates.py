"""What a run will cost, from what jobs have cost on this machine: samples, tokens to train on, seconds, money.

Samples are counted by `distillery.planning.dry_run`. Rates come from the provenance records of this host, in results
and cache. Of the jobs that were measured, those most like the planned one count (same recipe or sampler, else a
model of the same size, else any, by number of parameters); without any, an estimate is None rather than a guess.
"""

import math
import platform
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillery.files import read_json
from distillery.jobs.cache import ArtifactCache
from distillery.jobs.job import as_list
from distillery.models.manifest import read_manifest
from distillery.planning.dry_run import DryRun
from distillery.planning.forecast import Contents, Forecast, JobStatus
from distillery.planning.staleness import recorded
from distillery.records import TrainingRow, read_records

UNITS = {**dict.fromkeys(("sample", "ask_teachers", "peer_review", "refine", "search"), "generated"), "train": "tokens"}
"""Stage -> what its jobs count of their work; the others are measured by the job."""

ALIKE = {"ask_teachers": "teachers", "peer_review": "reviewers", "train": "objective"}
"""Stage -> parameter that two jobs alike have in common; of the other stages with a unit the sampler's name."""


@dataclass(frozen=True)
class Estimate:
    """The cost of one planned job. None: nobody can tell.

    `samples` are to be drawn and `there` are in the store; `tokens` are to be trained on, over all epochs. `at_most`:
    samples are an upper bound, and seconds and money are for so many.
    """

    samples: int | None = 0
    there: int = 0
    tokens: int | None = 0
    seconds: float | None = None
    money: float = 0.0
    at_most: bool = False


class Rates:
    """What jobs have cost here."""

    def __init__(self, records: Iterable[Mapping[str, Any]], host: str | None = None) -> None:
        here = host or platform.node()
        self.records = [record for record in records if record.get("host") == here]

    @classmethod
    def of(cls, results: Path, cache: ArtifactCache) -> "Rates":
        """From the records in a folder of results and in a cache."""
        found = {}
        for record in (*_records(results), *(dict(entry.record) for _, entry in cache.entries())):
            found[record.get("key"), record.get("finished")] = record
        return cls(found.values())

    def seconds(self, one: Forecast, units: float, parameters: int | None) -> float | None:
        """Expected seconds of a job with so many units of work (samples, tokens; 0 where only the stage counts)."""
        stage, params = one.node.job.stage, one.node.job.params
        same = [record for record in self.records if record["stage"] == stage]
        unit = UNITS.get(stage)
        if unit is None:
            return _median([record["seconds"] for record in same])
        measured = [record for record in same if record.get("work", {}).get(unit) and record["work"].get("seconds")]
        if not units or not measured:
            return None if units else 0.0
        name = ALIKE.get(stage, "sampler")
        alike = [record for record in measured if name in params and record["params"].get(name) == params[name]]
        if parameters is not None:
            alike = alike or [record for record in measured if record["work"].get("parameters") == parameters]
        overhead = _median([record["seconds"] - record["work"]["seconds"] for record in alike or measured])
        if alike:
            rate = _median([record["work"]["seconds"] / record["work"][unit] for record in alike])
        else:  # an endpoint has no known number of parameters: nothing follows from it, nor for it
            sized = [record for record in measured if record["work"].get("parameters")]
            per_parameter = [
                record["work"]["seconds"] / record["work"][unit] / record["work"]["parameters"] for record in sized
            ]
            rate = (_median(per_parameter) or math.nan) * (parameters or math.nan)
        assert overhead is not None and rate is not None
        total = overhead + units * rate
        return None if math.isnan(total) else total


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _records(results: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(results.rglob("*provenance.json")):
        try:
            yield read_json(path)
        except ValueError:
            continue


def estimate(one: Forecast, contents: Contents, dry_run: DryRun, rates: Rates) -> Estimate:
    """What a planned job will cost; nothing for one that the cache answers. In the order of the graph."""
    if one.status in {JobStatus.DONE, JobStatus.RESTORED}:
        return Estimate(seconds=0.0)
    asks = dry_run.of(one)
    if asks is not None:
        parameters = _parameters(one, "manifest", contents)
        seconds = None if asks.samples is None else rates.seconds(one, asks.samples, parameters)
        return Estimate(asks.samples, asks.there, seconds=seconds, money=asks.money, at_most=asks.at_most)
    if one.node.job.stage == "train":
        tokens = _tokens(one, contents)
        parameters = _parameters(one, "base", contents)
        return Estimate(tokens=tokens, seconds=None if tokens is None else rates.seconds(one, tokens, parameters))
    return Estimate(seconds=rates.seconds(one, 0, None))


def _input(one: Forecast, name: str, contents: Contents) -> Path | None:
    """A file that holds now what an input will hold."""
    paths = as_list(one.node.job.inputs[name])
    return contents.readable(paths[0]) if paths else None


def _parameters(one: Forecast, name: str, contents: Contents) -> int | None:
    """Parameters of the model of a job; of one that is trained anew, as many as it had."""
    file = _input(one, name, contents)
    if file is not None:
        return read_manifest(file).parameters
    record = recorded(one.node)
    return record.get("work", {}).get("parameters") if record else None


def _tokens(one: Forecast, contents: Contents) -> int | None:
    """Tokens of all epochs, prompts included: counted where the rows are known, else as in the last training."""
    train = one.node.job.params["train"]
    rows, base = _input(one, "rows", contents), one.node.job.inputs["base"]
    assert not isinstance(base, list)
    tokenizer = base.parent / "model" / "tokenizer.json"
    if rows is None or not tokenizer.exists():
        record = recorded(one.node)
        return record.get("work", {}).get("tokens") if record else None
    from tokenizers import Tokenizer

    texts = [row.prompt + row.target for row in read_records(rows, TrainingRow)]
    encoded = Tokenizer.from_file(str(tokenizer)).encode_batch(texts, add_special_tokens=False)
    return sum(min(len(text.ids) + 1, train["max_length"]) for text in encoded) * train["epochs"]
