"""What a run will cost: samples, tokens to train on, seconds and money.

`dry_run` counts the samples, `expected` replaces bounds by expectations, `rates` knows what jobs have cost. A count
that nobody can tell is None rather than a guess.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillery.jobs.job import as_list
from distillery.models.manifest import read_manifest
from distillery.planning import stages
from distillery.planning.expected import Expectations, passes
from distillery.planning.forecast import Forecast, JobStatus
from distillery.planning.staleness import recorded
from distillery.records import TrainingRow, read_records

SIZE_IN_NAME = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([mb])(?![a-z0-9])", re.IGNORECASE)
"""Parameters as names of models say them: 135M, 0.6b."""


@dataclass(frozen=True)
class Estimate:
    """The cost of one planned job. None: nobody can tell.

    Args:
        samples: Completions that are expected to be generated. `bound`: the most that can be, where that is more.
        stored: Completions that the store has.
        tokens: To be trained on, over all epochs; or to be read by a mentor, once.
        seconds: Of the job; `shipped` where they come from shipped rates.
        money: For the bound.
    """

    samples: int | None = 0
    bound: int | None = None
    stored: int = 0
    tokens: int | None = 0
    seconds: float | None = None
    shipped: bool = False
    money: float = 0.0
    at_most: bool = False


def estimate(forecast: Forecast, expectations: Expectations) -> Estimate:
    """What a planned job will cost; nothing for one that the cache answers. Call it in the order of the graph."""
    if forecast.status in {JobStatus.DONE, JobStatus.RESTORED}:
        return Estimate(seconds=0.0)
    count = expectations.dry_run.of(forecast)
    if count is not None:
        samples = expectations.samples(forecast, count)
        seconds, shipped = _seconds(forecast, samples, expectations)
        bound = count.samples if count.at_most else None
        return Estimate(
            samples, bound, count.stored, seconds=seconds, shipped=shipped, money=count.money, at_most=count.at_most
        )
    if forecast.node.job.stage in {stages.TRAIN, stages.SOFT_LABELS}:
        tokens = _tokens(forecast, expectations)
        seconds, shipped = _seconds(forecast, tokens, expectations)
        return Estimate(tokens=tokens, seconds=seconds, shipped=shipped)
    seconds, shipped = _seconds(forecast, 0, expectations)
    return Estimate(seconds=seconds, shipped=shipped)


def _seconds(forecast: Forecast, units: int | None, expectations: Expectations) -> tuple[float | None, bool]:
    if units is None:
        return None, False
    parameters = _parameters_of_job(forecast, expectations)
    return expectations.rates.seconds(forecast, units, parameters) or (None, False)


def _parameters_of_job(forecast: Forecast, expectations: Expectations) -> int | None:
    """Parameters of the model of a job; 0 of an endpoint, None where nobody can tell."""
    name = stages.cost_of(forecast.node.job.stage).model
    if name is None:
        return None
    (manifest,) = as_list(forecast.node.job.inputs[name])
    if expectations.dry_run.contents.readable(manifest) is None:
        record = recorded(forecast.node)
        made = record.get("work", {}).get("parameters") if record else None
        if made is not None:
            return made
    return _parameters(manifest, expectations)


def _parameters(manifest: Path, expectations: Expectations) -> int | None:
    """Parameters of a model, which may not be made yet: then as its base model, or as its name says."""
    file, maker = expectations.dry_run.contents.readable(manifest), expectations.dry_run.maker(manifest)
    if file is not None:
        return read_manifest(file).parameters
    if maker is None:
        return None
    job = maker.node.job
    if job.stage == stages.TRAIN:
        return _parameters(as_list(job.inputs["base"])[0], expectations)
    spec = job.params.get("spec", {})
    if spec.get("kind") == "api":
        return 0
    if spec.get("kind") == "pruned":
        (whole,) = as_list(job.inputs["parent"])
        parent, known = _parameters(whole, expectations), expectations.dry_run.contents.readable(whole)
        if spec["keep_every"] is not None:
            return None if parent is None else round(parent / spec["keep_every"])
        layers = read_manifest(known).layers if known is not None else None
        if layers is None:  # before the parent is made: what drops a few layers is nearly as large
            return parent if spec["keep"] is None else None
        return None if parent is None else round(parent * share_kept(spec, layers))
    return parameters_in_name(spec, str(job.params.get("name", "")))


def share_kept(spec: Mapping[str, Any], layers: int) -> float:
    """Share of a parent's layers that a pruned model keeps, by the list or number in its settings.

    >>> share_kept({"keep": [0, 1], "drop": None}, 8), share_kept({"keep": None, "drop": [3, 4]}, 8)
    (0.25, 0.75)
    """
    if spec["keep"] is not None:
        return len(spec["keep"]) / layers
    dropped = len(spec["drop"]) if spec["drop"] is not None else spec["drop_by_influence"]["layers"]
    return (layers - dropped) / layers


def parameters_in_name(spec: Mapping[str, Any], name: str) -> int | None:
    """Parameters as the file or identifier of a model says them.

    >>> parameters_in_name({"id": "Qwen/Qwen3-0.6B"}, "qwen"), parameters_in_name({}, "t5-small")
    (600000000, None)
    """
    for text in (spec.get("id"), spec.get("file"), name):
        if text and (match := SIZE_IN_NAME.search(str(text))):
            return round(float(match[1]) * {"m": 1e6, "b": 1e9}[match[2].lower()])
    return None


def _tokens(forecast: Forecast, expectations: Expectations) -> int | None:
    """Tokens of all updates, prompts included; a mentor reads the rows once.

    They are counted where the rows are known; else they are as in the last job, or expected.
    """
    job = forecast.node.job
    longest = job.params["train"]["max_length"] if job.stage == stages.TRAIN else None
    (rows,), (base,) = as_list(job.inputs["rows"]), as_list(job.inputs[str(stages.cost_of(job.stage).model)])
    file = expectations.dry_run.contents.readable(rows)
    tokenizer = base.parent / "model" / "tokenizer.json"
    if file is None or not tokenizer.exists():
        record = recorded(forecast.node)
        made = record.get("work", {}).get("tokens") if record else None
        return expectations.tokens(forecast) if made is None else made
    from tokenizers import Tokenizer

    from distillery.training.units import count_units  # torch, which most forecasts do without

    read = list(read_records(file, TrainingRow))
    texts = [row.prompt + row.target for row in read]
    encoded = Tokenizer.from_file(str(tokenizer)).encode_batch(texts, add_special_tokens=False)
    tokens = sum(min(len(text.ids) + 1, longest or len(text.ids) + 1) for text in encoded)
    return round(tokens * (passes(job.params["train"], count_units(read)) if job.stage == stages.TRAIN else 1))
