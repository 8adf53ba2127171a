"""Rates: what jobs have cost on this machine, and shipped measurements for a machine that has not run any yet.

The provenance records of this host, in results and cache, come first. For a stage without any, `shipped_rates.json`
answers (see `distillery.planning.shipped`). Every answer says which of the two it comes from.
"""

import platform
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from distillery.files import read_json_lines
from distillery.jobs.cache import ArtifactCache
from distillery.planning.forecast import Forecast
from distillery.planning.shipped import Records, Shipped, records_in, shipped_rates
from distillery.planning.stages import BATCH_SIZE, REFINE, SEARCH, TRAIN, StageCost, at, cost_of
from distillery.programs.self_refinement import most_repairs
from distillery.programs.step_search import most_lines

PROMPT_TOKENS = 32
"""Reading a prompt takes about as long as generating this many tokens: from the records of the default."""

MOST_REQUESTS = {REFINE: most_repairs, SEARCH: most_lines}
"""Stage -> the most requests for one question. How many are made depends on what the model writes."""


class Duration(NamedTuple):
    """Seconds of a job, and whether they come from shipped rates."""

    seconds: float
    shipped: bool


class Rates:
    """What jobs have cost.

    Args:
        records: Provenance records. Those of other hosts are left out.
        shipped: Asked where no record answers.
    """

    def __init__(
        self, records: Iterable[Mapping[str, Any]], host: str | None = None, shipped: Shipped | None = None
    ) -> None:
        here = host or platform.node()
        self.records = [record for record in records if record.get("host") == here]
        self.shipped = shipped or Shipped()

    @classmethod
    def of(cls, results: Path, cache: ArtifactCache) -> "Rates":
        """From the records in a folder of results and in a cache, and the shipped ones."""
        found = {}
        kept = (dict(entry.record) for _, entry in cache.entries() if "seconds" in entry.record)
        for record in (*records_in(results), *kept):
            found[record.get("key"), record.get("finished")] = record
        return cls(found.values(), shipped=shipped_rates())

    def seconds(self, forecast: Forecast, units: float, parameters: int | None) -> Duration | None:
        """Expected seconds of a job; None where no record says anything about it.

        Args:
            units: What the job will count of its work (samples, tokens); 0 where only the stage counts.
            parameters: Of its model; 0 of an endpoint, None where nobody can tell.
        """
        stage = forecast.node.job.stage
        for records, shipped in ((self.records, False), (self.shipped.jobs, True)):
            for measured in filter(None, (stage, cost_of(stage).instead)):
                found = _seconds(_of_stage(records, measured), forecast, units, parameters)
                if found is not None:
                    return Duration(found, shipped)
        return None

    def tokens_per_unit(self, forecast: Forecast) -> float | None:
        """Tokens of one row, or of one pair of rows, in a training like this one; or in any, for a mentor's rows."""
        for records in (self.records, self.shipped.jobs):
            counted = [
                record
                for record in _of_stage(records, TRAIN)
                if _work(record, "steps") and _work(record, "tokens") and _batch_size(record)
            ]
            alike = _alike(counted, forecast) or counted
            if alike:
                return statistics.median(
                    record["work"]["tokens"] / record["work"]["steps"] / _batch_size(record) for record in alike
                )
        return None

    def requested(self, forecast: Forecast) -> float:
        """Share of the most requests of a refinement or a search that is really made."""
        stage = forecast.node.job.stage
        found = [(record, _most_of(record)) for record in _of_stage(self.records, stage)]
        counted = [record for record, most in found if most and _work(record, "requested") is not None]
        alike = _alike(counted, forecast) or counted
        if alike:
            return statistics.mean(record["work"]["requested"] / (_most_of(record) or 1) for record in alike)
        if stage == SEARCH and self.shipped.lines:
            spec = forecast.node.job.params["spec"]
            lines = min(self.shipped.lines, spec["steps"]["max_lines"])
            return most_lines({**spec, "steps": {**spec["steps"], "max_lines": lines}}) / most_lines(spec)
        return self.shipped.failing if stage == REFINE else 1.0


def _seconds(records: Records, forecast: Forecast, units: float, parameters: int | None) -> float | None:
    """From records of one stage: of the jobs most like this one, scaled by parameters where they differ."""
    cost = cost_of(forecast.node.job.stage)
    if cost.unit is None:
        found = _alike(records, forecast) or records
        return statistics.median(record["seconds"] for record in found) if found else None
    if not units:
        return 0.0
    measured = [record for record in records if _work(record, cost.unit) and _work(record, "seconds")]
    alike = _alike(measured, forecast)
    of_this_size = [record for record in measured if parameters is not None and _size(record) == parameters]
    both = [record for record in alike if record in of_this_size]
    sized = [record for record in alike or measured if _size(record)]
    if both:
        chosen, rate = both, _per_unit(both, cost)
    elif alike and not parameters:
        chosen, rate = alike, _per_unit(alike, cost)
    elif parameters and alike and sized:
        chosen, rate = sized, _per_unit(sized, cost, scale=parameters)
    elif of_this_size:
        chosen, rate = of_this_size, _per_unit(of_this_size, cost, forecast)
    elif parameters and sized:
        chosen, rate = sized, _per_unit(sized, cost, forecast, parameters)
    else:  # an endpoint has no known number of parameters: nothing follows from it, nor for it
        return None
    overhead = statistics.median(record["seconds"] - record["work"]["seconds"] for record in chosen)
    return overhead + units * rate


def _per_unit(records: Records, cost: StageCost, forecast: Forecast | None = None, scale: int | None = None) -> float:
    """Seconds of one unit.

    Args:
        forecast: A job that is not alike: its texts may be longer or shorter.
        scale: Parameters of its model, where the records are of models of other sizes.
    """
    assert cost.unit is not None
    longest = cost.longest(forecast.node.job.params) if forecast else None
    rates = []
    for record in records:
        rate = record["work"]["seconds"] / record["work"][cost.unit]
        measured = cost.longest(_params(record))
        if longest and measured and measured > 0:
            rate *= (longest + PROMPT_TOKENS) / (measured + PROMPT_TOKENS)
        rates.append(rate * scale / _size(record) if scale else rate)
    return statistics.median(rates)


def _of_stage(records: Records, stage: str) -> list[Mapping[str, Any]]:
    return [record for record in records if record.get("stage") == stage]


def _alike(records: Records, forecast: Forecast) -> list[Mapping[str, Any]]:
    """The records of jobs with the same values of the parameters that decide alikeness."""
    cost = cost_of(forecast.node.job.stage)
    values = cost.alike_values(forecast.node.job.params)
    return [record for record in records if values is not None and cost.alike_values(_params(record)) == values]


def _params(record: Mapping[str, Any]) -> Mapping[str, Any]:
    return record.get("params") or {}


def _work(record: Mapping[str, Any], name: str) -> float | None:
    """A count of a job's work; None where there is none, or where the record holds something else there."""
    found = (record.get("work") or {}).get(name)
    return found if isinstance(found, int | float) and found >= 0 else None


def _size(record: Mapping[str, Any]) -> float:
    return _work(record, "parameters") or 0


def _batch_size(record: Mapping[str, Any]) -> int:
    found = at(_params(record), BATCH_SIZE)
    return found if isinstance(found, int) and found > 0 else 0


def _most_of(record: Mapping[str, Any]) -> int | None:
    """The most requests that a recorded job could have made; None where its questions are no longer stored."""
    paths = record.get("inputs", {}).get("questions", [])
    most = MOST_REQUESTS.get(record["stage"])
    if most is None or len(paths) != 1 or not paths[0]:
        return None
    try:
        return (
            len(read_json_lines(Path(paths[0]))) * most(record["params"]["spec"]) if Path(paths[0]).is_file() else None
        )
    except (OSError, KeyError, ValueError, TypeError, AttributeError):
        return None
