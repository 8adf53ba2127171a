"""The objective `two-task`: feedback and rationale of a pair, each with its weight."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from distillery.config.extensions import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from distillery.training.objectives.batch import Batch


class TwoTask(Objective):
    """alpha CE(feedback) + (1-alpha) CE(rationale), on pairs of rows. Source: MAPD (arXiv 2410.03663), public code."""

    because: ClassVar[Mapping[str, str]] = {"supervised-padding": "mask_padding"}

    loss: Literal["two-task"]
    alpha: float = Field(0.5, ge=0, le=1, description="Weight of the feedback task; at 0 or 1 the other is not read.")
    mask_padding: bool = Field(
        True,
        description="False supervises padding, as the public code does: rows filled with stop tokens to `max_length`.",
    )

    @property
    def needs(self) -> frozenset[str]:
        """Pairs of rows; and the published padding, where it is chosen."""
        return frozenset({"pairs"} | (set() if self.mask_padding else {"supervised-padding"}))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks with weight: the other would cost passes and change nothing."""
        weights = {"feedback": self.alpha, "rationale": 1 - self.alpha}
        return tuple(task for task, weight in weights.items() if weight > 0)

    def counts(self, labels: "Tensor", feedback: "Tensor | None") -> "Tensor":
        """Target tokens of the feedback rows and of the rationale rows of a micro-batch, (2,)."""
        import torch

        from distillery.training.losses import IGNORE

        assert feedback is not None  # pairs are among its needs
        supervised = labels != IGNORE
        return torch.stack([(supervised & mask).sum() for mask in (feedback, ~feedback)])

    def compute(self, batch: "Batch") -> "Tensor":
        """The weighted sum of both tasks, each in nats per token of its task in the whole batch."""
        assert batch.feedback is not None
        return two_task_loss(batch.student, batch.labels, batch.feedback, alpha=self.alpha, items=batch.counts)


def two_task_loss(
    student_logits: "Tensor",
    labels: "Tensor",
    feedback: "Tensor",
    *,
    alpha: float,
    items: "Tensor | tuple[int, int] | None" = None,
) -> "Tensor":
    """Cross-entropy of two tasks: alpha * feedback + (1 - alpha) * rationale, each in nats per token of its task.

    Each task is divided by its own tokens, so that alpha weighs tasks and not the lengths of their texts. At 1 the loss
    is the cross-entropy of the feedback, at 0 that of the rationales, bit for bit; the other task may be absent.

    Args:
        student_logits: (..., vocabulary).
        labels: (...), int64; IGNORE marks positions without loss.
        feedback: (...), bool: whether a position belongs to the feedback task.
        alpha: Weight of the feedback task.
        items: Tokens with loss of the whole batch, (feedback, rationale), for gradient accumulation. None: those of
            this call.

    Raises:
        ValueError: The shapes do not fit, or a task with weight has no token with loss.

    Source: MAPD (arXiv 2410.03663). The public code averages each task over a micro-batch; there that is a
    mean over tokens and padding alike.
    """
    from distillery.training.losses import check_shapes, cross_entropy_loss

    check_shapes(student_logits, labels)
    if feedback.shape != labels.shape:
        raise ValueError(f"feedback mask {tuple(feedback.shape)} and labels {tuple(labels.shape)} do not fit")
    parts = []
    for number, (weight, mask) in enumerate([(alpha, feedback), (1 - alpha, ~feedback)]):
        if weight == 0:
            continue
        loss = cross_entropy_loss(student_logits[mask], labels[mask], None if items is None else items[number])
        parts.append(loss if weight == 1 else weight * loss)
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]
