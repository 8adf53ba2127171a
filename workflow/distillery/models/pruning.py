"""Pruning: which layers of a causal model a smaller student keeps, and how they are cut out.

    kept_layers         every n-th layer
    listed_layers       the layers that a user lists
    least_influential   the layers that remain when those are left out that a few texts need least

The influence of a layer is measured on worked solutions of train questions, never of test questions:

    greedy     again and again, the layer without which the loss on the target tokens is lowest
    one-pass   the layers that change their input least: mean cosine similarity of a layer's input and output

Source: one-pass is the block influence of ShortGPT (arXiv 2403.03853), without its sign. Influence is measured in
float32 on the CPU, so that a machine with a GPU chooses the same layers.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distillery.errors import UserError
from distillery.models.manifest import Pruning
from distillery.models.tokenization import Example, encode_rows
from distillery.records import TrainingRow

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

BATCH = 8
"""Texts that run through a model together."""

logger = logging.getLogger(__name__)


def kept_layers(total: int, keep_every: int, keep_last: bool) -> list[int]:
    """Indices of the layers that pruning keeps.

    >>> kept_layers(6, keep_every=2, keep_last=True)
    [0, 2, 4, 5]
    """
    kept = list(range(0, total, keep_every))
    return [*kept, total - 1] if keep_last and kept[-1] != total - 1 else kept


def listed_layers(total: int, key: Literal["keep", "drop"], listed: Sequence[int]) -> list[int]:
    """Indices of the layers that remain, in their order in the parent, whether they or the others are listed.

    Raises:
        UserError: A layer is listed that the parent does not have, or none would remain.

    >>> listed_layers(4, "keep", [3, 0]), listed_layers(4, "drop", [1])
    ([0, 3], [0, 2, 3])
    """
    beyond = [index for index in listed if index >= total]
    if beyond:
        remedy = f"Its layers are 0 to {total - 1}"
        raise _fault(f"the parent has {total} layers", key, beyond, remedy)
    kept = sorted(listed) if key == "keep" else [index for index in range(total) if index not in set(listed)]
    if not kept:
        raise _fault(f"all {total} layers of the parent would be left out", key, list(listed), "List fewer")
    return kept


def least_influential(
    parent: Path, rows: Sequence[TrainingRow], *, layers: int, method: Literal["greedy", "one-pass"]
) -> Pruning:
    """Choose the layers of a prepared causal model that can be left out.

    Args:
        parent: Prepared folder of the whole model.
        rows: Prompts and targets; the loss is that of the targets, in nats per token.
        layers: How many to leave out.
        method: `greedy` or `one-pass`, as above.

    Raises:
        UserError: No layer would remain, the rows cannot be tokenised exactly (`encode_rows`), or the parent is broken.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(parent, dtype=torch.float32, trust_remote_code=False).eval()
    total = model.config.num_hidden_layers
    if layers >= total:
        key, remedy = "drop_by_influence.layers", f"Leave at most {total - 1} out"
        raise _fault(f"the parent has {total} layers, and one must remain", key, layers, remedy)
    limit = getattr(model.config, "max_position_embeddings", None) or 2**31
    tokenizer = AutoTokenizer.from_pretrained(parent, trust_remote_code=False)
    batches = _batches(encode_rows(rows, tokenizer, architecture="causal", max_length=limit))
    tokens = sum(int((labels >= 0).sum()) for _, _, labels in batches)
    with torch.no_grad():
        whole = sum(_loss(model, batch) for batch in batches) / tokens
        if not math.isfinite(whole):
            remedy = "Check the weights of the parent"
            raise UserError(f"the parent's loss on {len(rows)} texts is {whole}", file=parent, remedy=remedy)
        similarities = None
        dropped: list[int] = []
        losses: list[float] = []
        if method == "one-pass":
            similarities = _similarities(model, batches)
            order = sorted(range(total), key=lambda index: (-similarities[index], index))
        while len(dropped) < layers:
            remaining = [index for index in range(total) if index not in dropped]
            candidates = [order[len(dropped)]] if method == "one-pass" else remaining
            costs = _costs(model, batches, remaining, candidates)
            cost, best = min((cost if math.isfinite(cost) else math.inf, index) for index, cost in costs.items())
            dropped.append(best)
            losses.append(cost / tokens)
            logger.info("without layers %s: %.4f nats per token, the whole model %.4f", dropped, losses[-1], whole)
    return Pruning(
        method=method,
        kept=[index for index in range(total) if index not in dropped],
        dropped=dropped,
        loss=whole,
        losses=losses,
        similarities=similarities,
        questions=[row.qid for row in rows],
        target_tokens=tokens,
    )


def prune_layers(model: "PreTrainedModel", kept: Sequence[int]) -> "PreTrainedModel":
    """Keep only some decoder layers of a causal model, in place, and adapt its config.

    Raises:
        UserError: The model's layers are not where transformers' decoders have them.
    """
    _, layers = _stack(model)
    _set_layers(model, kept, [layers[index] for index in kept])
    return model


def _fault(problem: str, key: str, value: object, remedy: str) -> UserError:
    return UserError(problem, file="config/models.yaml", key=key, value=value, remedy=remedy)


def _stack(model: "PreTrainedModel") -> "tuple[str, nn.ModuleList]":
    """The layers of a decoder, and the attribute of its base model that holds them."""
    from torch import nn

    total = model.config.num_hidden_layers
    stacks = [
        (name, child)
        for name, child in model.base_model.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == total
    ]
    if len(stacks) != 1:
        raise UserError(f"cannot find the {total} layers of {type(model).__name__}", remedy="Use an unpruned model")
    return stacks[0]


def _set_layers(model: "PreTrainedModel", kept: Sequence[int], modules: "Sequence[nn.Module]") -> None:
    """Put modules in the place of a model's layers; `kept` says which of the layers its config then describes."""
    from torch import nn

    name, layers = _stack(model)
    total = len(layers)
    setattr(model.base_model, name, nn.ModuleList(modules))
    for key, value in list(vars(model.config).items()):
        if "layer" in key and isinstance(value, list | tuple) and len(value) == total:  # such as `layer_types`
            setattr(model.config, key, [value[index] for index in kept])
    model.config.num_hidden_layers = len(kept)


@contextmanager
def _cut_to(model: "PreTrainedModel", kept: Sequence[int], modules: "Sequence[nn.Module]") -> Iterator[None]:
    """Within, the model has these modules as its layers."""
    name, layers = _stack(model)
    described = {key: value for key, value in vars(model.config).items() if "layer" in key}
    _set_layers(model, kept, modules)
    try:
        yield
    finally:
        setattr(model.base_model, name, layers)
        for key, value in described.items():
            setattr(model.config, key, value)


def _batches(examples: Sequence[Example]) -> "list[tuple[Tensor, Tensor, Tensor]]":
    """Token ids, attention mask and labels of texts of like length, each (texts, tokens); a label of -1 has no loss."""
    import torch

    ordered = sorted(examples, key=lambda example: len(example.prompt_ids) + len(example.target_ids))
    batches = []
    for start in range(0, len(ordered), BATCH):
        some = ordered[start : start + BATCH]
        width = max(len(example.prompt_ids) + len(example.target_ids) for example in some)
        ids = torch.zeros(len(some), width, dtype=torch.int64)
        attended, labels = torch.zeros_like(ids), torch.full_like(ids, -1)
        for place, example in enumerate(some):
            text = torch.tensor(example.prompt_ids + example.target_ids)
            ids[place, : len(text)], attended[place, : len(text)] = text, 1
            labels[place, len(example.prompt_ids) : len(text)] = torch.tensor(example.target_ids)
        batches.append((ids, attended, labels))
    return batches


def _costs(
    model: "PreTrainedModel",
    batches: "list[tuple[Tensor, Tensor, Tensor]]",
    remaining: list[int],
    candidates: list[int],
) -> dict[int, float]:
    """Summed loss, in nats, of the layers `remaining` without each of some of them."""
    _, layers = _stack(model)
    costs = dict.fromkeys(candidates, 0.0)
    with _cut_to(model, remaining, [layers[index] for index in remaining]):
        for batch in batches:
            losses = _losses_without(model, batch, [remaining.index(index) for index in candidates])
            for index, loss in zip(candidates, losses, strict=True):
                costs[index] += loss
    return costs


def _losses_without(model: "PreTrainedModel", batch: "tuple[Tensor, Tensor, Tensor]", places: list[int]) -> list[float]:
    """Summed loss of a batch without the layer at each of some places.

    The layers in front of a place are not run again: what the last of them gave the whole model stands in for them.
    """
    _, layers = _stack(model)
    with _recorded(layers) as given:
        _loss(model, batch)
    losses = []
    for place in places:
        kept = [*range(max(place - 1, 0), place), *range(place + 1, len(layers))]
        before = [_standing_in(layers[place - 1], given[place - 1][1])] if place else []
        with _cut_to(model, kept, [*before, *layers[place + 1 :]]):
            losses.append(_loss(model, batch))
    return losses


def _standing_in(layer: "nn.Module", output: Any) -> "nn.Module":
    """A module that gives an output of `layer` without running it, and has the layer's attributes."""
    from torch import nn

    class StandIn(nn.Module):
        def __getattr__(self, key: str) -> Any:
            return getattr(layer, key)  # models ask a layer for its kind of attention

        def forward(self, *_inputs: Any, **_options: Any) -> Any:
            return output

    return StandIn()


@contextmanager
def _recorded(layers: "nn.ModuleList") -> "Iterator[list[tuple[Tensor, Any]]]":
    """Within, every layer's input and output are kept, in the order of the layers."""
    given: list[tuple[Tensor, Any]] = []

    def keep(_layer: "nn.Module", inputs: "tuple[Tensor, ...]", options: dict[str, Any], output: Any) -> None:
        given.append((inputs[0] if inputs else options["hidden_states"], output))

    hooks = [layer.register_forward_hook(keep, with_kwargs=True) for layer in layers]
    try:
        yield given
    finally:
        for hook in hooks:
            hook.remove()


def _similarities(model: "PreTrainedModel", batches: "list[tuple[Tensor, Tensor, Tensor]]") -> list[float]:
    """Mean cosine similarity of each layer's input and output, over all tokens of the texts."""
    from torch.nn import functional

    _, layers = _stack(model)
    sums, tokens = [0.0] * len(layers), 0
    for ids, attended, _ in batches:
        with _recorded(layers) as given:
            model(input_ids=ids, attention_mask=attended, use_cache=False)
        read = attended.bool()
        tokens += int(read.sum())
        for place, (before, output) in enumerate(given):
            after = output[0] if isinstance(output, tuple) else output
            sums[place] += float(functional.cosine_similarity(before[read], after[read], dim=-1).double().sum())
    return [total / tokens for total in sums]


def _loss(model: "PreTrainedModel", batch: "tuple[Tensor, Tensor, Tensor]") -> float:
    """Summed cross-entropy of a batch's target tokens, in nats."""
    from torch.nn import functional

    ids, attended, labels = batch
    wanted = labels[:, 1:] >= 0
    logits = model(input_ids=ids, attention_mask=attended, use_cache=False).logits[:, :-1]
    return float(functional.cross_entropy(logits[wanted], labels[:, 1:][wanted], reduction="sum"))
