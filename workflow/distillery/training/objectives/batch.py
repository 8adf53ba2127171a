"""What an objective computes its loss from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from distillery.training.losses import TopK


@dataclass(frozen=True)
class Batch:
    """One micro-batch, with logits and labels aligned.

    Args:
        student: Logits, (positions with loss, vocabulary); with `all-positions` (batch, tokens, vocabulary).
        labels: The shape of `student` without its last, int64; IGNORE (-100) marks positions without loss.
        items: Target tokens of the whole batch, of all micro-batches and devices: what the loss is divided by.
        mentor: Logits of the mentor, of the shape of `student`; or `TopK`, for an objective whose `soft_label_form`
            says so; None where it is not needed.
        feedback: Whether a position belongs to the feedback row of a pair, bool, of the shape of `labels`.
        counts: Sum over the whole batch of what the objective's `counts` gives; None where it has no such method.
    """

    student: "Tensor"
    labels: "Tensor"
    items: "Tensor | int | None" = None
    mentor: "Tensor | TopK | None" = None
    feedback: "Tensor | None" = None
    counts: "Tensor | None" = None
