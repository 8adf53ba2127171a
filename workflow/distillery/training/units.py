"""Units: what an update counts. A row, or for the objective `two-task` a pair of rows.

A pair is the feedback row and the rationale row (`source`) of one question. Both take part in the same update, and in
the same pass of one device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from distillery.config.recipe import MentorKD, Objective, Train, TwoTask
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

    A task without weight (alpha 0 or 1) is left out: it would cost passes and change nothing.

    Raises:
        UserError: As `encode` does; or the objective is two-task, and a row is of another source or has no partner.
    """
    if not isinstance(objective, TwoTask):
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
    if isinstance(objective, TwoTask):
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
    """The collator of an objective; where its padding is part of the loss, all rows get one width.

    Raises:
        UserError: The published padding of two-task is asked for with an encoder-decoder.
    """
    causal = architecture == "causal"
    if isinstance(objective, TwoTask) and not objective.mask_padding:
        if not causal:
            raise UserError(
                "the public code, whose padding this is, trains decoder-only models alone",
                key="objective.mask_padding",
                value=False,
                remedy="Mask the padding, or take a causal student",
            )
        return PairCollator(CausalCollator(tokenizer.eos_token_id, train.max_length, mask_padding=False))
    width = 0
    if isinstance(objective, MentorKD) and objective.mask == "repo-compat":
        examples = [example for unit in units for example in unit.examples]
        width = max(tokens(example) if causal else len(example.target_ids) for example in examples)
    collate = row_collator(architecture, tokenizer.pad_token_id, width)
    return PairCollator(collate) if isinstance(objective, TwoTask) else collate


def row_collator(architecture: Architecture, pad_id: int, width: int = 0) -> CausalCollator | Seq2SeqCollator:
    """The collator of rows that stand alone."""
    return (CausalCollator if architecture == "causal" else Seq2SeqCollator)(pad_id, width)


def _pairs(rows: Sequence[TrainingRow], objective: TwoTask) -> list[tuple[TrainingRow, ...]]:
    """Rows of each pair, feedback first, without those of a task that has no weight."""
    found: dict[tuple[str, int], dict[str, TrainingRow]] = {}
    for row in rows:
        if row.source not in (FEEDBACK, RATIONALE):
            raise _fault(row, f"the objective two-task takes rows of source {FEEDBACK} and {RATIONALE}")
        if row.source in found.setdefault((row.qid, row.sample_index), {}):
            raise _fault(row, "this row stands twice")
        found[row.qid, row.sample_index][row.source] = row
    for pair in found.values():
        for task, other in ((FEEDBACK, RATIONALE), (RATIONALE, FEEDBACK)):
            if other not in pair:
                raise _fault(pair[task], f"there is no {other} row to this one")
    weights = {FEEDBACK: objective.alpha, RATIONALE: 1 - objective.alpha}
    return [tuple(pair[task] for task, weight in weights.items() if weight > 0) for pair in found.values()]


def _fault(row: TrainingRow, problem: str) -> UserError:
    return UserError(
        problem,
        key=f"row {row.qid}/{row.source}/{row.sample_index}",
        remedy="Compose the rows as pairs, or choose another objective (`objective.loss`)",
    )
