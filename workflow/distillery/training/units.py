"""Units: what an update counts. A row, or for an objective on pairs a pair of rows.

A pair is the feedback row and the rationale row (`source`) of one question. Both take part in the same update, and in
the same pass of one device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from distillery.config.extensions import Objective
from distillery.config.recipe import Train
from distillery.errors import UserError
from distillery.models.tokenization import Architecture, Example
from distillery.records import TrainingRow
from distillery.training.batches import CausalCollator, PairCollator, Seq2SeqCollator, tokens

FEEDBACK, RATIONALE = "feedback", "rationale"

Encode = Callable[[Sequence[TrainingRow]], list[Example]]


@dataclass(frozen=True, slots=True)
class Unit:
    """Rows that are trained on together; `feedback` says of each whether it is of the feedback task."""

    examples: tuple[Example, ...]
    feedback: tuple[bool, ...]

    @property
    def tokens(self) -> int:
        return sum(map(tokens, self.examples))

    @property
    def target_tokens(self) -> int:
        return sum(len(example.target_ids) for example in self.examples)


def units_of(rows: Sequence[TrainingRow], objective: Objective, encode: Encode) -> list[Unit]:
    """The rows, or their pairs, as token ids in the order of the rows.

    Of a pair only the rows of `objective.tasks` are kept: another would cost passes and change nothing.

    Raises:
        UserError: As `encode` does; or the objective needs pairs, and a row is of another source or has no partner.
    """
    if "pairs" not in objective.needs:
        return [Unit((example,), (False,)) for example in encode(rows)]
    pairs = _pairs(rows, objective)
    examples = iter(encode([row for pair in pairs for row in pair]))
    return [Unit(tuple(next(examples) for _ in pair), tuple(row.source == FEEDBACK for row in pair)) for pair in pairs]


def count_units(rows: Sequence[TrainingRow]) -> int:
    """How many units rows make that were composed for another recipe: pairs, if all are of the two tasks, else rows."""
    paired = {row.source for row in rows} == {FEEDBACK, RATIONALE}
    return len({(row.qid, row.sample_index) for row in rows}) if paired else len(rows)


def dataset_of(units: Sequence[Unit], objective: Objective) -> Dataset:
    """Units as the trainers read them: token ids of a row, or lists of them for the rows of a pair."""
    if "pairs" in objective.needs:
        return Dataset.from_dict(
            {
                "feedback": [list(unit.feedback) for unit in units],
                "prompt_ids": [[example.prompt_ids for example in unit.examples] for unit in units],
                "target_ids": [[example.target_ids for example in unit.examples] for unit in units],
            }
        )
    return Dataset.from_dict(
        {
            "prompt_ids": [unit.examples[0].prompt_ids for unit in units],
            "target_ids": [unit.examples[0].target_ids for unit in units],
        }
    )


def collator_of(
    units: Sequence[Unit], tokenizer: Any, *, train: Train, objective: Objective, architecture: Architecture
) -> CausalCollator | Seq2SeqCollator | PairCollator:
    """The collator of an objective; where its padding is part of the loss, all rows get one width."""
    needs = objective.needs
    collate: CausalCollator | Seq2SeqCollator
    if "supervised-padding" in needs:
        collate = CausalCollator(tokenizer.eos_token_id, train.max_length, mask_padding=False)
    else:
        width = 0
        if "equal-width" in needs:
            examples = [example for unit in units for example in unit.examples]
            causal = architecture == "causal"
            width = max(tokens(example) if causal else len(example.target_ids) for example in examples)
        collate = row_collator(architecture, tokenizer.pad_token_id, width)
    return PairCollator(collate) if "pairs" in needs else collate


def row_collator(architecture: Architecture, pad_id: int, width: int = 0) -> CausalCollator | Seq2SeqCollator:
    """The collator of single rows."""
    return (CausalCollator if architecture == "causal" else Seq2SeqCollator)(pad_id, width)


def _pairs(rows: Sequence[TrainingRow], objective: Objective) -> list[tuple[TrainingRow, ...]]:
    """Rows of each pair, feedback first, without those of a task that has no weight."""
    found: dict[tuple[str, int], dict[str, TrainingRow]] = {}
    for row in rows:
        if row.source not in (FEEDBACK, RATIONALE):
            raise _fault(row, f"the objective {objective.loss} takes rows of source {FEEDBACK} and {RATIONALE}")
        if row.source in found.setdefault((row.qid, row.sample_index), {}):
            raise _fault(row, "there are two rows of this name")
        found[row.qid, row.sample_index][row.source] = row
    for pair in found.values():
        for task, other in ((FEEDBACK, RATIONALE), (RATIONALE, FEEDBACK)):
            if other not in pair:
                raise _fault(pair[task], f"there is no {other} row to this one")
    return [tuple(pair[task] for task in objective.tasks) for pair in found.values()]


def _fault(row: TrainingRow, problem: str) -> UserError:
    return UserError(
        problem,
        key=f"row {row.qid}/{row.source}/{row.sample_index}",
        remedy="Compose the rows as pairs, or choose another objective (`objective.loss`)",
    )
