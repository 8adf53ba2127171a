"""Losses: the pieces that objectives are built from, as pure functions of logits and labels.

    cross_entropy_loss   the student imitates the target text
    soft_label_loss      the student imitates a mentor's distribution over the next token
    divergence_sum       the sum behind it, over given positions
    TopK                 a mentor's distribution as its likeliest tokens and the mass of all others

Logits and labels are ALIGNED: position i of the logits predicts position i of the labels. A causal model's output has
to be shifted against its input by the caller; an encoder-decoder's is aligned already. A label of IGNORE (-100) marks
prompt and padding, which carry no loss. All sums are taken in float32, also of logits in bf16.

The vocabulary is wide (49,152 for SmolLM2), so positions without loss are dropped before the softmax: with prompts of
60 and targets of 40 tokens that is more than half of the work. What these functions do not do: shift, or align the
vocabularies of two model families (`distillery.models.manifest.same_vocabulary` refuses those).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

IGNORE = -100
PIECE = 2**22
"""Logits that the divergences look at together on a CPU: 16 MB. Smaller pieces fit the cache better, but where other
jobs want the cores too, every parallel loop waits for the slower thread. GPUs take 16 times that."""

Divergence = Literal["forward-kl", "reverse-kl", "skew-forward-kl", "skew-reverse-kl", "jensen-shannon"]


def cross_entropy_loss(student_logits: Tensor, labels: Tensor, items: Tensor | int | None = None) -> Tensor:
    """Token cross-entropy on the target, in nats per token.

    Args:
        student_logits: (..., vocabulary); usually (batch, tokens, vocabulary), or (positions, vocabulary) if the
            positions with loss were gathered before.
        labels: (...), int64; IGNORE marks positions without loss.
        items: Divisor of the sum. None: the tokens with loss of this call, which gives their mean. Under gradient
            accumulation: the tokens with loss of the whole batch, so that micro-batches add up to its mean.

    Raises:
        ValueError: The shapes do not fit, or no token carries loss.

    Source: Fine-tune-CoT (arXiv 2212.10071), section 3; Mentor-KD (arXiv 2410.09037), eq. 2 with its sign corrected.
    """
    check_shapes(student_logits, labels)
    logits, targets = _supervised(student_logits, labels)
    total = functional.cross_entropy(logits.float(), targets, reduction="sum")
    return total / (targets.numel() if items is None else items)


def soft_label_loss(
    student_logits: Tensor,
    mentor_logits: "Tensor | TopK",
    labels: Tensor,
    temperature: float = 1.0,
    divergence: Divergence = "forward-kl",
    skew: float = 0.1,
    items: Tensor | int | None = None,
) -> Tensor:
    """Divergence between mentor and student over the tokens with loss, in nats per token.

    Args:
        student_logits: (..., vocabulary).
        mentor_logits: Same shape, same vocabulary; gets no gradient. Or `TopK` of the positions with loss.
        labels: (...), int64; IGNORE marks prompt and padding.
        temperature: Divides both logits (tau); no tau**2 factor, as in the paper.
        divergence: With p the mentor and q the student: `forward-kl` KL(p||q), `reverse-kl` KL(q||p),
            `skew-forward-kl` KL(p || skew*p + (1-skew)*q), `skew-reverse-kl` KL(q || (1-skew)*p + skew*q),
            `jensen-shannon` the mean of the KLs of both to their average.
        skew: Mixing weight of the skew divergences; DistiLLM recommends 0.1.
        items: As for `cross_entropy_loss`.

    Raises:
        ValueError: The shapes do not fit, the temperature is not positive, or no token carries loss.

    Source: Mentor-KD (arXiv 2410.09037), eq. 4; skew divergences: DistiLLM (arXiv 2402.03898), section 3.1. The public
    Mentor-KD code averages over padding too: `distillery.training.objectives.mentor_kd`.
    """
    check_shapes(student_logits, labels, mentor_logits)
    student, targets = _supervised(student_logits, labels)
    mentor = mentor_logits if isinstance(mentor_logits, TopK) else _supervised(mentor_logits, labels)[0]
    total = divergence_sum(student, mentor, temperature, divergence, skew)
    return total / (targets.numel() if items is None else items)


def check_shapes(student_logits: Tensor, labels: Tensor, mentor_logits: "Tensor | TopK | None" = None) -> None:
    """Raise a ValueError where logits and labels, or the logits of mentor and student, do not fit."""
    if student_logits.shape[:-1] != labels.shape:
        raise ValueError(f"logits {tuple(student_logits.shape)} and labels {tuple(labels.shape)} do not fit")
    if isinstance(mentor_logits, TopK):
        if len(mentor_logits.tokens) != int((labels != IGNORE).sum()):
            raise ValueError(f"soft labels of {len(mentor_logits.tokens)} positions and labels {tuple(labels.shape)}")
    elif mentor_logits is not None and mentor_logits.shape != student_logits.shape:
        raise ValueError(
            f"student logits {tuple(student_logits.shape)} and mentor logits {tuple(mentor_logits.shape)} differ"
        )


def _supervised(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and labels of the positions with loss: (positions, vocabulary) and (positions,)."""
    kept = labels != IGNORE
    if not kept.any():
        raise ValueError("no token carries loss")
    if kept.all():  # gathered already; boolean indexing would copy the widest tensor there is
        return logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
    return logits[kept], labels[kept]


@dataclass(frozen=True)
class TopK:
    """A mentor's distributions at some positions: the likeliest tokens of each, and the mass of all others together.

    Args:
        tokens: (positions, k), int64; the others are the rest of the vocabulary.
        logprobs: (positions, k), their log-probabilities at temperature 1.
        tails: (positions, temperatures), for each temperature t the log of the sum over the other tokens of p**(1/t).
        temperatures: Those of `tails`, in their order.
    """

    tokens: Tensor
    logprobs: Tensor
    tails: Tensor
    temperatures: tuple[float, ...]

    def __getitem__(self, positions: slice) -> "TopK":
        return TopK(self.tokens[positions], self.logprobs[positions], self.tails[positions], self.temperatures)

    def outcomes(self, student: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the k tokens and of all others as one outcome, each (positions, k + 1).

        Args:
            student: Logits of the same positions, (positions, vocabulary).

        Returns:
            Of the mentor, and of the student.

        Raises:
            ValueError: The tails are not known at this temperature.
        """
        if temperature not in self.temperatures:
            known = ", ".join(f"{known:g}" for known in self.temperatures)
            raise ValueError(f"top-k soft labels know the temperatures {known}, and not {temperature:g}")
        tail = self.tails[:, self.temperatures.index(temperature)]
        p = torch.cat([self.logprobs / temperature, tail[:, None]], dim=-1).float()
        scaled = student.float() / temperature
        rest = scaled.scatter(-1, self.tokens, -math.inf).logsumexp(-1, keepdim=True)
        q = torch.cat([scaled.gather(-1, self.tokens), rest], dim=-1)
        return _normalised(p), _normalised(q)


def _normalised(masses: Tensor) -> Tensor:
    """Log-probabilities; a mass of nothing becomes e**-10000, as 0 times its logarithm would be no number."""
    return functional.log_softmax(masses.clamp(min=-1e4), dim=-1)


def divergence_sum(
    student: Tensor, mentor: Tensor | TopK, temperature: float, divergence: Divergence, skew: float
) -> Tensor:
    """Sum over all positions of (positions, vocabulary) logits, in nats; the mentor gets no gradient.

    Of `TopK` it is the divergence between the k + 1 outcomes that both distributions give: never more than that of the
    whole distributions, and zero where these are equal, whatever is in the tail (data processing inequality).
    """
    if temperature <= 0:
        raise ValueError(f"temperature {temperature} is not positive")
    if isinstance(mentor, TopK):
        top = mentor

        def loss_of(piece: Tensor, at: slice) -> Tensor:
            p, q = top[at].outcomes(piece, temperature)
            return _between(p, q, divergence, skew)
    else:
        logits = mentor.detach()

        def loss_of(piece: Tensor, at: slice) -> Tensor:
            return _divergence(piece, logits[at], temperature, divergence, skew)

    return _InPieces.apply(student, loss_of)


class _InPieces(torch.autograd.Function):
    """Sum of a loss over (positions, vocabulary), some positions at a time, with its gradient.

    A piece stays near the processor, and only the gradient is kept for the backward pass, where autograd would keep
    half a dozen tensors as wide as the logits: 0.2 s instead of 0.4 s for 350 positions of 49,152 (one core).
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, loss_of: Callable[[Tensor, slice], Tensor]) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=student.device)
        gradient = torch.empty_like(student)
        step = max(1, (PIECE if student.device.type == "cpu" else 16 * PIECE) // student.shape[-1])
        for start in range(0, student.shape[0], step):
            piece = student[start : start + step].detach().requires_grad_()
            with torch.enable_grad():
                loss = loss_of(piece, slice(start, start + step))
            (gradient[start : start + step],) = torch.autograd.grad(loss, piece)
            total += loss.detach()
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * factor.to(gradient.dtype), None


def _divergence(student: Tensor, mentor: Tensor, temperature: float, divergence: Divergence, skew: float) -> Tensor:
    """Sum over positions of a divergence between two (positions, vocabulary) logits."""
    q = functional.log_softmax(student.float() / temperature, dim=-1)
    p = functional.log_softmax(mentor.float() / temperature, dim=-1)
    return _between(p, q, divergence, skew)


def _between(p: Tensor, q: Tensor, divergence: Divergence, skew: float) -> Tensor:
    """Sum over positions of a divergence between log-probabilities: of the mentor (p) and of the student (q)."""
    match divergence:
        case "forward-kl":
            return _kl(p, q)
        case "reverse-kl":
            return _kl(q, p)
        case "skew-forward-kl":
            return _kl(p, _mix(p, q, skew))
        case "skew-reverse-kl":
            return _kl(q, _mix(q, p, skew))
        case "jensen-shannon":
            middle = _mix(p, q, 0.5)
            return (_kl(p, middle) + _kl(q, middle)) / 2
        case _:
            raise ValueError(f"unknown divergence {divergence!r}")


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q), summed, of log-probabilities."""
    return functional.kl_div(q, p, reduction="sum", log_target=True)


def _mix(first: Tensor, second: Tensor, share: float) -> Tensor:
    """log(share * first + (1 - share) * second) of log-probabilities."""
    return torch.logaddexp(first + math.log(share), second + math.log1p(-share))
