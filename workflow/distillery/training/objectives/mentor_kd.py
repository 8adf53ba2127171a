"""The objective `mentor-kd`: the student imitates the target text, and a mentor's distribution over the next token."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from distillery.config.extensions import TEMPERATURES, Objective, SoftLabelForm

if TYPE_CHECKING:
    from torch import Tensor

    from distillery.training.losses import Divergence, TopK
    from distillery.training.objectives.batch import Batch


class MentorKD(Objective):
    """(1-lambda) CE + lambda KL(mentor || student) on the target. Source: Mentor-KD, section 3.3."""

    because: ClassVar[Mapping[str, str]] = {"mentor": "lambda", "all-positions": "mask", "equal-width": "mask"}

    loss: Literal["mentor-kd"]
    weight: float = Field(0.3, ge=0, le=1, alias="lambda", description="Weight of the soft labels.")
    temperature: float = Field(2.0, gt=0, description="Divides both logits; no tau**2 factor, as in the paper.")
    divergence: Literal["forward-kl", "reverse-kl", "skew-forward-kl", "skew-reverse-kl", "jensen-shannon"] = (
        "forward-kl"
    )
    skew: float = Field(0.1, gt=0, lt=1, description="Mixing weight of the skew divergences.")
    mask: Literal["labels", "repo-compat"] = Field(
        "labels", description="Positions in the KL: target tokens, or all with padding, as the public code does."
    )

    soft_labels: Literal["exact", "top-k", "online"] = Field(
        "exact",
        description="How the mentor's distributions reach the training: stored before for the whole vocabulary, stored "
        "as the `k` likeliest tokens and the mass of the others, or computed beside the student in every epoch.",
    )
    k: int = Field(64, ge=1, description="Tokens of each position with `soft_labels: top-k`.")

    @model_validator(mode="after")
    def _top_k_has_tails(self) -> "MentorKD":
        if self.soft_labels == "top-k" and self.mask == "repo-compat":
            raise ValueError(
                "top-k soft labels are of target tokens, and mask: repo-compat reads prompts and padding too"
            )
        if self.soft_labels == "top-k" and self.temperature not in TEMPERATURES:
            known = ", ".join(f"{known:g}" for known in TEMPERATURES)
            raise ValueError(
                f"top-k soft labels know their tail at the temperatures {known}; or use soft_labels: exact"
            )
        return self

    @property
    def soft_label_form(self) -> SoftLabelForm | None:
        """As the recipe says; the published mask reads what no file has, so its mentor runs beside the student."""
        if super().soft_label_form is None or self.soft_labels == "online":
            return None
        return SoftLabelForm(form="top-k", k=self.k) if self.soft_labels == "top-k" else SoftLabelForm()

    @property
    def needs(self) -> frozenset[str]:
        """A mentor, if its soft labels have weight; the published mask wants whole rows of one width."""
        published = {"equal-width"} if self.mask == "repo-compat" else set()
        if self.weight == 0:
            return frozenset(published)
        return frozenset({"mentor"} | published | ({"all-positions"} if published else set()))

    def counts(self, labels: "Tensor", _feedback: "Tensor | None") -> "Tensor":
        """All positions of a micro-batch, (1,): the published mask divides by them."""
        return labels.new_tensor([labels.numel()])

    def compute(self, batch: "Batch") -> "Tensor":
        """The joint loss in nats per target token of the whole batch."""
        return mentor_kd_loss(
            batch.student,
            batch.mentor,
            batch.labels,
            weight=self.weight,
            temperature=self.temperature,
            divergence=self.divergence,
            skew=self.skew,
            mask=self.mask,
            items=batch.items,
            positions=None if batch.counts is None else batch.counts[0],
        )


def mentor_kd_loss(
    student_logits: "Tensor",
    mentor_logits: "Tensor | TopK | None",
    labels: "Tensor",
    *,
    weight: float,
    temperature: float,
    divergence: "Divergence" = "forward-kl",
    skew: float = 0.1,
    mask: Literal["labels", "repo-compat"] = "labels",
    items: "Tensor | int | None" = None,
    positions: "Tensor | int | None" = None,
) -> "Tensor":
    """(1 - lambda) * cross-entropy + lambda * soft labels.

    Args:
        student_logits: (..., vocabulary).
        mentor_logits: Same shape, or `TopK` with the mask `labels`; may be None where `weight` is 0, so that the
            mentor need not run.
        labels: (...), int64.
        weight: lambda. At 0 the loss is the cross-entropy, bit for bit.
        temperature: As for `soft_label_loss`; the cross-entropy has none.
        divergence: As for `soft_label_loss`.
        skew: As for `soft_label_loss`.
        mask: `labels`: soft labels on the target only. `repo-compat`: on all positions, as the public code.
        items: Tokens with loss of the whole batch, for gradient accumulation.
        positions: All positions of the whole batch; used by `repo-compat` in place of `items`.

    Raises:
        ValueError: As for the parts; or the mentor is missing though its weight is not 0.

    Source: Mentor-KD (arXiv 2410.09037), section 3.3.
    """
    from distillery.training.losses import TopK, cross_entropy_loss, soft_label_loss

    hard = cross_entropy_loss(student_logits, labels, items)
    if weight == 0:
        return hard
    if mentor_logits is None:
        raise ValueError(f"weight {weight} needs mentor logits")
    if mask == "labels":
        soft = soft_label_loss(student_logits, mentor_logits, labels, temperature, divergence, skew, items)
    elif isinstance(mentor_logits, TopK):
        raise ValueError("top-k soft labels have no position that the mask repo-compat reads beside the targets")
    else:
        soft = soft_label_loss_as_published(
            student_logits, mentor_logits, labels, temperature, divergence, skew, positions
        )
    return (1 - weight) * hard + weight * soft


def soft_label_loss_as_published(
    student_logits: "Tensor",
    mentor_logits: "Tensor",
    labels: "Tensor",
    temperature: float = 1.0,
    divergence: "Divergence" = "forward-kl",
    skew: float = 0.1,
    items: "Tensor | int | None" = None,
) -> "Tensor":
    """`soft_label_loss` over ALL positions, padding included, as the public code computes it: for reproduction only.

    The code's mask is `labels != 0`, but padding is labelled -100, so nothing is masked. As the whole data set is
    padded to its longest target there, 14-58 % of the positions are real tokens and the rest is noise. `items` counts
    all positions here.

    Source: public code of Mentor-KD (2hojae/mentor-kd), fault A of this project's notes.
    """
    from distillery.training.losses import check_shapes, divergence_sum

    check_shapes(student_logits, labels, mentor_logits)
    width = student_logits.shape[-1]
    flat, mentor = student_logits.reshape(-1, width), mentor_logits.reshape(-1, width)
    total = divergence_sum(flat, mentor, temperature, divergence, skew)
    return total / (labels.numel() if items is None else items)
