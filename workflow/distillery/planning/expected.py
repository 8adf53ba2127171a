"""Expected counts: rows, tokens and requests that depend on what models will write.

The dry run counts what is certain and bounds the rest. Here a share takes the place of the bound: of right answers, of
programs that fail, of requests that a search really made. The last two come from the records of like jobs, where there
are any; the others are shipped.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distillery.jobs.job import as_list
from distillery.planning import stages
from distillery.planning.dry_run import DryRun, RequestCount
from distillery.planning.forecast import Forecast
from distillery.planning.rates import MOST_REQUESTS, Rates
from distillery.records import TrainingRow, read_records


class Expectations:
    """What to expect of the jobs of a graph whose inputs are not made yet."""

    def __init__(self, dry_run: DryRun, rates: Rates) -> None:
        self.dry_run, self.rates = dry_run, rates

    def samples(self, forecast: Forecast, count: RequestCount) -> int | None:
        """Completions that a job will generate; the bound where nothing better is known."""
        if count.samples is None or not count.at_most:
            return count.samples
        job = forecast.node.job
        if job.stage in MOST_REQUESTS:
            return round(count.samples * self.rates.requested(forecast))
        gate = as_list(job.inputs.get("verdicts", [])) if job.stage == stages.PEER_REVIEW else []
        if gate and self.dry_run.contents.readable(gate[0]) is None:
            return round(count.samples * self.rates.shipped.right_on_mistakes)
        return count.samples

    def tokens(self, forecast: Forecast) -> int | None:
        """Tokens that a training will read over all epochs, or a mentor once; None where nobody can tell."""
        job = forecast.node.job
        (rows,) = as_list(job.inputs.get("matched") or job.inputs["rows"])
        units, each = self.units(rows), self.rates.tokens_per_unit(forecast)
        if units is None or each is None:
            return None
        return round(units * each * (passes(job.params["train"], units) if job.stage == stages.TRAIN else 1))

    def units(self, rows: Path) -> float | None:
        """Rows, or pairs of rows, in a file; None where nobody can tell."""
        file, maker = self.dry_run.contents.readable(rows), self.dry_run.maker(rows)
        if maker is not None and maker.node.job.stage == stages.COMPOSE_PAIRS:
            mistakes = self.dry_run.mistakes(maker)
            return None if mistakes is None else len(mistakes.records) * self.rates.shipped.right_on_mistakes
        if file is not None:
            return sum(1 for _ in read_records(file, TrainingRow))
        if maker is None or maker.node.job.stage != stages.COMPOSE:
            return None
        questions = self.dry_run.questions(maker)
        if questions is None:
            return None
        completions = dict(
            zip(sorted(maker.node.job.params["sampled"]), as_list(maker.node.job.inputs["completions"]), strict=True)
        )
        return sum(
            len(questions.records) * source["share"] * self._kept(source, completions.get(name))
            for name, source in maker.node.job.params["sources"].items()
        )

    def _kept(self, source: Mapping[str, Any], completions: Path | None) -> float:
        """Rows of one question: of its gold answer, or of its right completions up to the caps."""
        if completions is None:
            return 1.0
        maker = self.dry_run.maker(completions)
        samples = maker.node.job.params["spec"].get("samples", 1) if maker else 1
        samples = min(samples, source["degree"] or samples)
        right = self.rates.shipped.right if source["keep"] == "correct" else 1.0
        cap = samples if source["per_question"] is None else source["per_question"]
        return expected_up_to(cap, samples, right)


def passes(train: Mapping[str, Any], units: float) -> float:
    """How often a training reads its rows, or pairs of rows, from its `train` settings.

    >>> train = {"epochs": 3, "updates": None, "batch_size": 4}
    >>> passes(train, 100), passes({**train, "updates": 50}, 100)
    (3, 2.0)
    """
    return train["epochs"] if train.get("updates") is None else train["updates"] * train["batch_size"] / max(units, 1)


def expected_up_to(cap: int, samples: int, share: float) -> float:
    """Expected number of right ones among independent samples, where no more than `cap` count.

    >>> expected_up_to(2, 2, 0.5), expected_up_to(1, 2, 0.5)
    (1.0, 0.75)
    """
    return sum(
        min(cap, right) * math.comb(samples, right) * share**right * (1 - share) ** (samples - right)
        for right in range(samples + 1)
    )
