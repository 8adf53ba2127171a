"""Training through the stage's own entry, and the same training written out by hand.

The reference computes each row alone, without padding, and each update with the formula of AdamW. It shares nothing
with the code under test but torch and the model classes.
"""

import inspect
import json
import math
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from distillery.training.objectives import OBJECTIVES

from ..scripts import script

CROSS_ENTROPY = {"loss": "cross-entropy"}
PLAIN: dict[str, Any] = {
    "epochs": 3, "updates": None, "batch_size": 4, "learning_rate": 1e-3, "schedule": "constant", "warmup": 0.0,
    "weight_decay": 0.0, "max_grad_norm": None, "max_length": 64, "precision": "fp32", "lora": None,
    "held_out": 0.0, "evaluations": 10, "match_updates_of": None,
}  # fmt: skip
VOCABULARY = ["<bos>", "<eos>", "<pad>", "<unk>", *map(chr, range(32, 127)), "\n"]
BOS, EOS, PAD = 0, 1, 2

ROWS = [("Q: one and one?\nA:", " 2"), ("Q: six?\nA:", " 3 + 3 = 6"), ("Q: a?\nA:", " b c"), ("Q: no, why?\nA:", " x")]
"""Prompts and targets of unequal lengths."""

Rows = Sequence[tuple[str, str]]


def base_model(folder: Path, *, architecture: str = "causal", seed: int = 0, config: dict[str, Any] | None = None):
    """The manifest of a random model, with these values in its config."""
    spec = {"kind": "random", "architecture": architecture, "layers": 1, "hidden_size": 32, "seed": seed}
    manifest = folder / "manifest.json"
    script("base_model").main(folder / "model", manifest, spec, folder.name)
    if config:
        file = folder / "model" / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
    return manifest


def write_rows(path: Path, rows: Rows, qids: Iterable[str] | None = None) -> Path:
    """A file of training rows, in the order of their question ids."""
    names = list(qids) if qids is not None else [f"q{number:03}" for number in range(len(rows))]
    lines = [
        json.dumps({"qid": qid, "source": "gold", "sample_index": 0, "completion_id": None, "prompt": p, "target": t})
        for qid, (p, t) in sorted(zip(names, rows, strict=True))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


class Trained:
    """What a training left: weights, summary, and the manifest that says where they come from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights: dict[str, torch.Tensor] = load_file(folder / "model" / "model.safetensors")
        self.summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())

    @property
    def losses(self) -> list[float]:
        return [loss for _, loss in self.summary["loss_history"]]


def train(
    base: Path,
    out: Path,
    train: dict[str, Any] | None = None,
    *,
    rows: Path | None = None,
    objective: dict[str, Any] = CROSS_ENTROPY,
    seed: int = 0,
    mentor: Path | None = None,
    matched: Path | None = None,
) -> Trained:
    """Run the stage `train`, in this process; before it `soft_labels`, as rules do where the objective stores them."""
    main = script("train").main
    extra = {"recipe": "r"} if "recipe" in inspect.signature(main).parameters else {}
    if "WORLD_SIZE" not in os.environ:  # else the processes of one training share the folder
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    rows = rows or write_rows(out / "rows.jsonl", ROWS)
    settings = {**PLAIN, **(train or {})}
    stored = None
    form = OBJECTIVES[objective["loss"]].model_validate(objective).soft_label_form
    if mentor is not None and form is not None:
        stored = out / f"labels{os.environ.get('RANK', '')}.arrow"
        kept = form.model_dump(mode="json")
        script("soft_labels").main(rows, mentor, stored, out / "labels.json", kept, settings["precision"])
    main(
        rows=rows,
        base=base,
        folder=out / "model",
        manifest=out / "manifest.json",
        summary=out / "summary.json",
        train=settings,
        objective=objective,
        form="text",
        seed=seed,
        progress=out / "progress",
        mentor=None if stored else mentor,
        soft_labels=stored,
        matched=matched,
        **extra,
    )
    return Trained(out)


def load(manifest: Path) -> torch.nn.Module:
    """The model of a manifest, float32."""
    encoder = "T5" in (manifest.parent / "model" / "config.json").read_text()
    kind = AutoModelForSeq2SeqLM if encoder else AutoModelForCausalLM
    return kind.from_pretrained(manifest.parent / "model", dtype=torch.float32)


def ids(text: str) -> list[int]:
    """Token ids of a text: its characters."""
    return [VOCABULARY.index(character) for character in text]


def target_logits(model: torch.nn.Module, row: tuple[str, str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits at the places of a row's target and stop token, (tokens, vocabulary), and the tokens that belong there."""
    prompt, target = ids(row[0]), [*ids(row[1]), EOS]
    if model.config.is_encoder_decoder:
        target = [BOS, *target]  # a text stands in a frame, as in the vocabulary of CodeT5
        start = [model.config.decoder_start_token_id]
        out = model(
            input_ids=torch.tensor([[BOS, *prompt, EOS]]), decoder_input_ids=torch.tensor([start + target[:-1]])
        )
        return out.logits[0], torch.tensor(target)
    out = model(input_ids=torch.tensor([prompt + target]))
    return out.logits[0, len(prompt) - 1 : -1], torch.tensor(target)


def cross_entropy(model: torch.nn.Module, rows: Rows) -> torch.Tensor:
    """Mean over all target tokens of the rows, in nats."""
    total, tokens = torch.zeros(()), 0
    for row in rows:
        logits, target = target_logits(model, row)
        total = total - logits.log_softmax(-1).gather(1, target[:, None]).sum()
        tokens += len(target)
    return total / tokens


def factor(schedule: str, update: int, updates: int, warmup: int) -> float:
    """Share of the learning rate in an update (from 0)."""
    if update < warmup:
        return update / warmup
    if schedule == "constant":
        return 1.0
    course = (update - warmup) / (updates - warmup)
    return 1 - course if schedule == "linear" else (1 + math.cos(math.pi * course)) / 2


def fit(
    model: torch.nn.Module, batches: Sequence[Rows], settings: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Weights after AdamW updates, one for each batch, and the loss before each.

    Source: Loshchilov & Hutter 2019 (arXiv 1711.05101), algorithm 2, with b1 = 0.9, b2 = 0.999, e = 1e-8.
    """
    how = {**PLAIN, **settings}
    norms = {
        f"{path}.{name}"
        for path, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if "norm" in type(module).__name__.lower()
    }
    named = dict(model.named_parameters())
    first = {name: torch.zeros_like(value) for name, value in named.items()}
    second = {name: torch.zeros_like(value) for name, value in named.items()}
    updates, losses = len(batches), []
    for update, rows in enumerate(batches):
        loss = cross_entropy(model, rows)
        losses.append(float(loss.detach()))
        gradients = dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))
        if how["max_grad_norm"] is not None:
            norm = math.sqrt(sum(float((gradient.double() ** 2).sum()) for gradient in gradients.values()))
            scale = min(1.0, how["max_grad_norm"] / (norm + 1e-6))
            gradients = {name: gradient * scale for name, gradient in gradients.items()}
        rate = how["learning_rate"] * factor(how["schedule"], update, updates, round(how["warmup"] * updates))
        with torch.no_grad():
            for name, weight in named.items():
                if name not in norms:
                    weight *= 1 - rate * how["weight_decay"]
                first[name] = 0.9 * first[name] + 0.1 * gradients[name]
                second[name] = 0.999 * second[name] + 0.001 * gradients[name] ** 2
                mean = first[name] / (1 - 0.9 ** (update + 1))
                spread = (second[name] / (1 - 0.999 ** (update + 1))).sqrt()
                weight -= rate * mean / (spread + 1e-8)
    return {name: value.detach().clone() for name, value in named.items()}, losses


def largest_difference(weights: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> float:
    """Over all tensors that both have; embeddings that are tied stand once in a file."""
    shared = weights.keys() & others.keys()
    assert len(shared) > 5
    return max(float((weights[name].float() - others[name].float()).abs().max()) for name in shared)
