"""Objectives: what a student is trained to do. Each module of this package is one: its settings, needs and loss.

    cross_entropy   imitate the target text
    mentor_kd       imitate the target text and a mentor's distribution over the next token
    two_task        imitate feedback and rationale of a pair, each with its weight

A module defines one subclass of `distillery.config.extensions.Objective`: its fields are the settings in a recipe, with
`loss: Literal["<name>"]`; `needs` names what the trainer has to provide; `compute(batch)` is the loss. The modules are
found by their place, so adding an objective is adding one file. Their code is part of the key of those trainings that
use them, and of no other. They import torch inside of functions, as settings are read without it.

| need                 | what the trainer provides                                                            |
|----------------------|--------------------------------------------------------------------------------------|
| `mentor`             | `batch.mentor`: logits of a frozen mentor of the same vocabulary                     |
| `pairs`              | batches of pairs of rows, and `batch.feedback`: which positions are of the feedback  |
| `all-positions`      | logits and labels at every position, (batch, tokens, ...), not only those with loss  |
| `equal-width`        | every batch padded to the longest row of all                                         |
| `supervised-padding` | rows filled up to `max_length` with stop tokens that carry loss                      |
"""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from distillery.config.extensions import Objective
from distillery.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_ALL = frozenset({"mentor", "pairs", "all-positions", "equal-width"})

TRAINERS = {"causal": _ALL | {"supervised-padding"}, "encoder-decoder": _ALL}
"""What each trainer provides: architecture -> needs. The public code whose padding is supervised is causal."""


@dataclass(frozen=True)
class Batch:
    """What a loss is computed from: one micro-batch, with logits and labels aligned.

    Args:
        student: Logits, (positions with loss, vocabulary); with `all-positions` (batch, tokens, vocabulary).
        labels: The shape of `student` without its last, int64; IGNORE (-100) marks positions without loss.
        items: Target tokens of the whole batch, of all micro-batches and devices: what the loss is divided by.
        mentor: Logits of the mentor, of the shape of `student`; None where it is not needed.
        feedback: Whether a position belongs to the feedback row of a pair, bool, of the shape of `labels`.
        counts: Sum over the whole batch of what the objective's `counts` gives; None where it has no such method.
    """

    student: "Tensor"
    labels: "Tensor"
    items: "Tensor | int | None" = None
    mentor: "Tensor | None" = None
    feedback: "Tensor | None" = None
    counts: "Tensor | None" = None


def _found() -> dict[str, type[Objective]]:
    """The objective of each module of this package, by the name that its `loss` declares."""
    found: dict[str, type[Objective]] = {}
    for place in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{place.name}")
        own = [
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, Objective) and value.__module__ == module.__name__
        ]
        if len(own) != 1:
            raise UserError(
                f"a module of objectives defines one subclass of Objective, and this one {len(own)}",
                file=str(module.__file__),
                remedy="Give each objective a module; shared pieces belong in distillery/training/losses.py",
            )
        name, *others = get_args(own[0].model_fields["loss"].annotation) or (None,)
        if name is None or others or name in found or own[0].compute is Objective.compute:
            raise UserError(
                "an objective has a name of its own and a method `compute`",
                file=str(module.__file__),
                key=f"{own[0].__name__}.loss",
                value=name,
                remedy='Write `loss: Literal["<name>"]` with a name that no other objective has, and `compute`',
            )
        found[name] = own[0]
    return found


OBJECTIVES = _found()
"""Name in recipes (`objective.loss`) -> objective."""
