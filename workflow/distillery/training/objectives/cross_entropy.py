"""The objective `cross-entropy`: the student imitates the target text."""

from typing import TYPE_CHECKING, Literal

from distillery.config.extensions import Objective

if TYPE_CHECKING:
    from torch import Tensor

    from distillery.training.objectives.batch import Batch


class CrossEntropy(Objective):
    """Token cross-entropy on the target (sequence-level distillation)."""

    loss: Literal["cross-entropy"]

    def compute(self, batch: "Batch") -> "Tensor":
        """Cross-entropy in nats per target token of the whole batch."""
        from distillery.training.losses import cross_entropy_loss

        return cross_entropy_loss(batch.student, batch.labels, batch.items)
