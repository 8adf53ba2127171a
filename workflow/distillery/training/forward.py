"""One pass of a model over a batch: the logits at target positions, for trainers and for mentors alike.

The loss sees logits at target positions only: a hook gathers the hidden states of those positions in front of the
output head of any architecture, so scaling and soft caps that a model applies after its head keep working.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from distillery.training.losses import IGNORE


@contextmanager
def head_on(model: nn.Module, wanted: Tensor) -> Iterator[None]:
    """Within, the model's output head is applied at the positions of the mask `wanted` (batch, tokens) only.

    The logits come out as (1, positions, vocabulary), rows in reading order. With 60 prompt and 40 target tokens a row,
    and a head that holds a third of the weights (SmolLM2 pruned to 16 layers), a fifth of the
    multiplications is saved.
    """

    def gather(_head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, *others = inputs
        if hidden.shape[:2] != wanted.shape:
            raise ValueError(f"the head got {tuple(hidden.shape)}, expected (batch, tokens) {tuple(wanted.shape)}")
        return (hidden[wanted].unsqueeze(0), *others)

    hook = model.get_output_embeddings().register_forward_pre_hook(gather)
    try:
        yield
    finally:
        hook.remove()


def next_tokens(labels: Tensor) -> Tensor:
    """Labels (batch, tokens) of a causal model, such that position i is the token that the logits at i predict."""
    return nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORE)


def logits_of(model: nn.Module, inputs: dict[str, Tensor], labels: Tensor, everywhere: bool) -> Tensor:
    """(positions with loss, vocabulary), or (batch, tokens, vocabulary) if `everywhere`; `labels` are aligned."""
    if everywhere:
        return model(**inputs, use_cache=False).logits
    plain = model.module if hasattr(model, "module") else model  # DDP does not pass `get_output_embeddings` on
    with head_on(plain, labels != IGNORE):
        return model(**inputs, use_cache=False).logits.squeeze(0)
