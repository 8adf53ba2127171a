"""Texts as vectors, from a small static table in a registry package: no model hub, no deep-learning library."""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distillery.errors import UserError

PACKAGE = "wordllama"


@functools.cache
def _table() -> tuple[Any, np.ndarray]:
    """Tokenizer and embedding table, (tokens, 256), read from the package's files without importing it."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise UserError(f"the package {PACKAGE} is not installed", key=PACKAGE, remedy="Run `make environment`")
    folder = Path(found.origin).parent
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    (weights,) = load_file(folder / "weights" / "l2_supercat_256.safetensors").values()
    return tokenizer, weights.astype(np.float32)


def embed(texts: Sequence[str]) -> np.ndarray:
    """Mean of the token vectors of each text, (texts, 256), of length one."""
    tokenizer, table = _table()
    encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    vectors = np.stack([table[encoding.ids or [0]].mean(axis=0) for encoding in encoded])
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def spread(texts: Sequence[str]) -> float:
    """Mean cosine distance between two different texts: 0 if all texts are the same.

    Source: PaD, the study of the output space; there as a picture.
    """
    vectors = embed(texts)
    count = len(texts)
    if count < 2:
        return 0.0
    total = float(vectors.sum(axis=0) @ vectors.sum(axis=0))  # of all pairs, each text with itself among them
    return 1 - (total - count) / (count * (count - 1))
