"""What a run will cost, from what jobs have cost on this machine: samples, tokens to train on, seconds, money.

Rates come from the provenance records of this host, in results and cache. Of the jobs that were measured, those most
like the planned one count (same recipe or sampler, else same stage, by number of parameters); without any, an estimate
is None rather than a guess.
"""

import math
import platform
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillery.budget import price_of
from distillery.cache import ArtifactCache
from distillery.files import read_json, read_json_lines
from distillery.forecast import Contents, Forecast, How
from distillery.job import listed
from distillery.manifest import read_manifest
from distillery.records import Question, TrainingRow, read_records
from distillery.requests import Series
from distillery.sampling import requests_for
from distillery.staleness import recorded
from distillery.store import CompletionStore

CHARACTERS_PER_TOKEN = 4
"""Of English prompts, for the price of what was never asked; an endpoint's tokenizer is not at hand."""


@dataclass(frozen=True)
class Estimate:
    """The cost of one planned job. None: nobody can tell.

    `samples` are to be drawn and `there` are in the store; `tokens` are to be trained on, over all epochs.
    """

    samples: int = 0
    there: int = 0
    tokens: int | None = 0
    seconds: float | None = None
    money: float = 0.0


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
        unit = {"sample": "drawn", "train": "tokens"}.get(stage)
        if unit is None:
            return _median([record["seconds"] for record in same])
        measured = [record for record in same if record.get("work", {}).get(unit) and record["work"].get("seconds")]
        if not measured:
            return None
        name = "sampler" if stage == "sample" else "recipe"
        alike = [record for record in measured if record["params"].get(name) == params.get(name)]
        overhead = _median([record["seconds"] - record["work"]["seconds"] for record in alike or measured])
        if alike:
            rate = _median([record["work"]["seconds"] / record["work"][unit] for record in alike])
        else:
            per_parameter = [
                record["work"]["seconds"] / record["work"][unit] / record["work"]["parameters"] for record in measured
            ]
            rate = (_median(per_parameter) or math.nan) * (parameters or math.nan)
        assert overhead is not None and rate is not None
        total = (overhead if units else 0.0) + units * rate
        return None if math.isnan(total) else total


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _records(results: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(results.rglob("*provenance.json")):
        try:
            yield read_json(path)
        except ValueError:
            continue


def estimate(one: Forecast, contents: Contents, store: CompletionStore, rates: Rates) -> Estimate:
    """What a planned job will cost; nothing for one that the cache answers."""
    if one.how in {How.DONE, How.RESTORED}:
        return Estimate(seconds=0.0)
    if one.node.job.stage == "sample":
        samples, there, money = _samples(one, contents, store)
        seconds = rates.seconds(one, samples, _parameters(one, "manifest", contents))
        return Estimate(samples, there, seconds=seconds, money=money)
    if one.node.job.stage == "train":
        tokens = _tokens(one, contents)
        parameters = _parameters(one, "base", contents)
        return Estimate(tokens=tokens, seconds=None if tokens is None else rates.seconds(one, tokens, parameters))
    return Estimate(seconds=rates.seconds(one, 0, None))


def _input(one: Forecast, name: str, contents: Contents, *, as_it_is: bool = False) -> Path | None:
    """A file that holds now what an input will hold; `as_it_is` takes the present one where that is not known yet."""
    paths = listed(one.node.job.inputs[name])
    if not paths:
        return None
    return contents.readable(paths[0]) or (paths[0] if as_it_is and paths[0].is_file() else None)


def _parameters(one: Forecast, name: str, contents: Contents) -> int | None:
    """Parameters of the model of a job; of one that is trained anew, as many as it had."""
    file = _input(one, name, contents)
    if file is not None:
        return read_manifest(file).parameters
    record = recorded(one.node)
    return record.get("work", {}).get("parameters") if record else None


def _samples(one: Forecast, contents: Contents, store: CompletionStore) -> tuple[int, int, float]:
    """Samples to draw, samples there, and the price of the former. Where the model is trained anew, all are to draw."""
    spec = one.node.job.params["spec"]
    calls = 2 if spec["prompt"].get("answer_cue") is not None else 1
    questions, exemplars = (_input(one, name, contents, as_it_is=True) for name in ("questions", "exemplars"))
    if questions is None or exemplars is None:
        return 0, 0, 0.0
    asked = list(read_records(questions, Question))
    everything = calls * len(asked) * spec["samples"], 0, 0.0
    manifest, folder = _input(one, "manifest", contents), one.node.job.inputs["manifest"]
    assert not isinstance(folder, list)
    if manifest is None:
        return everything
    model = read_manifest(manifest)
    if spec["prompt"].get("chat") and not (folder.parent / "model").exists():
        return everything
    _, requests = requests_for(asked, read_json_lines(exemplars), spec, folder.parent / "model")
    series = Series.of(model.identity, spec["decoding"], spec["prompt"]["stop"])
    by_key = {request.key(series): request for request in requests}
    found = store.find(series, by_key)
    missing = [request for key, request in by_key.items() if key not in found]
    completion_tokens = _median([kept.completion_tokens for kept in found.values()]) or series.max_new_tokens
    money = calls * sum(
        price_of(model.identity, len(request.prompt) // CHARACTERS_PER_TOKEN, int(completion_tokens))
        for request in missing
    )
    return calls * len(missing), len(found), money


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
