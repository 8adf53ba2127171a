"""Shipped rates: records of one run of the default, reduced to what a forecast needs on a machine without records.

python -m distillery.planning.shipped RESULTS "2-core CPU" 2026-11-24 > workflow/distillery/planning/shipped_rates.json
"""

import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from distillery.errors import UserError
from distillery.files import read_json, read_json_lines
from distillery.planning.stages import BATCH_SIZE, GENERATED, NOTHING, at, cost_of

WORK = ("generated", "tokens", "steps", "seconds", "parameters")
"""Counts of a job's work that a forecast reads."""

Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Shipped:
    """Measurements that come with the package.

    Args:
        right: Share of a teacher's completions with the right answer. `right_on_mistakes`: of a committee's rationales
            on questions that a student got wrong.
        failing: Share of a teacher's programs that fail visibly, so that a refinement requests a repair.
        lines: Usual length of a program; 0 where that is not known.
        jobs: Reduced provenance records.
    """

    device: str = ""
    measured: str = ""
    right: float = 1.0
    right_on_mistakes: float = 1.0
    failing: float = 1.0
    lines: int = 0
    jobs: Records = ()

    def __str__(self) -> str:
        return f"shipped rates for a {self.device}, measured {self.measured}"


def shipped_rates() -> Shipped:
    """What comes with the package."""
    return Shipped(**json.loads(files("distillery.planning").joinpath("shipped_rates.json").read_text("utf-8")))


def records_in(results: Path) -> Iterator[dict[str, Any]]:
    """The provenance records in a folder of results; what is not one is passed over."""
    for path in sorted(results.rglob("*provenance.json")):
        try:
            record = read_json(path)
        except ValueError:
            continue
        if isinstance(record, dict) and "stage" in record and "seconds" in record:
            yield record


def reduced(results: Path, device: str, measured: str) -> dict[str, Any]:
    """The measurements of a finished run as they are shipped: no names, digests or texts.

    Raises:
        UserError: The run has no teacher's completions, or no programs.
    """
    graded = [read_json(path)["robust"] for path in sorted((results / "verdicts").glob("*/train/*/summary.json"))]
    programs = [found for found in graded if found["outcomes"]["rejected"] + found["outcomes"]["raised"]]
    answers = [row for row in _rows(results / "committees", "verdicts.jsonl") if row["grader"] == "robust"]
    texts = [row["text"].strip() for row in _rows(results / "refined", "predictions.jsonl")]
    if not graded or not programs or not answers or not texts:
        raise UserError("not every method was run here", file=results, remedy="Name the results of the default")
    failing = sum(found["outcomes"][name] for found in programs for name in ("rejected", "raised", "unparsable"))
    return {
        "device": device,
        "measured": measured,
        "right": _share(sum(found["outcomes"]["right"] for found in graded), sum(found["asked"] for found in graded)),
        "right_on_mistakes": _share(sum(row["outcome"] == "right" for row in answers), len(answers)),
        "failing": _share(failing, sum(found["asked"] for found in programs)),
        "lines": round(statistics.mean(text.count("\n") + 1 for text in texts)),
        "jobs": [_reduced(record) for record in records_in(results)],
    }


def _rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.rglob(name)) for row in read_json_lines(path)]


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4)


def _reduced(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without what names a recipe, a sampler or a machine."""
    cost = cost_of(record["stage"])
    named = () if cost.unit == GENERATED else cost.alike  # of requests, alikeness is a name or a whole committee
    params: dict[str, Any] = {}
    for path in (*named, *filter(None, [cost.limit]), BATCH_SIZE):
        value = at(record["params"], path)
        if value is not NOTHING:
            *parents, last = path.split(".")
            place = params
            for name in parents:
                place = place.setdefault(name, {})
            place[last] = value
    work = {name: record["work"][name] for name in WORK if name in record.get("work", {})}
    return {"stage": record["stage"], "seconds": record["seconds"], "params": params, "work": work}


if __name__ == "__main__":
    found = reduced(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
    jobs = ",\n".join(f"  {json.dumps(job)}" for job in found.pop("jobs"))
    sys.stdout.write(f'{json.dumps(found)[:-1]}, "jobs": [\n{jobs}\n]}}\n')
