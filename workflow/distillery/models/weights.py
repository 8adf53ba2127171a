"""The files of a model folder, before any of them is loaded: present, whole, readable, and consistent with each other.

    model.safetensors                or  model.safetensors.index.json and the shards that it names
    config.json, tokenizer files         JSON objects, or text in UTF-8

Which weight files count is decided as transformers decides it: a single file comes before an index. Of weights only
headers are read, by the safetensors library, which compares types, shapes and offsets with the size of the file: a
model of 100 GB costs milliseconds, and changed bytes of a tensor are not seen. No deep-learning library is loaded.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from distillery.errors import UserError, UserErrors

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
DESCRIPTIONS = ("config.json", "generation_config.json", *TOKENIZER_FILES)
LAYER_KEYS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers")
_LFS = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class TensorHeader:
    """What a safetensors file says about a tensor."""

    file: str
    dtype: str
    """As safetensors names it: `BF16`."""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelFiles:
    """The files that make a model, and its tensors."""

    names: list[str]
    tensors: dict[str, TensorHeader]


def check_files(folder: Path, where: object = None, links: bool = True) -> ModelFiles:
    """Check the files of a model folder.

    Args:
        where: Name of the folder in messages; its path by default.
        links: Links out of the folder are followed, as in the cache of the Hub, and not refused.

    Raises:
        UserError: A file is missing, cut, empty, a link or not what its name promises: all such faults at once.
    """
    folder, where = Path(folder), where or folder
    if not folder.is_dir():
        raise UserError("no such model folder", file=where, remedy="Check `path` in config/models.yaml")
    if not _present(folder / "config.json"):
        raise UserError("no model: config.json is missing", file=where, remedy="Give the folder that holds it")
    present = [name for name in DESCRIPTIONS if _present(folder / name)]
    faults = [fault for name in present if (fault := _description_fault(folder, name, where, links))]
    if not {*present} & {*VOCABULARIES}:
        faults.append(
            UserError(
                f"no tokenizer: none of {', '.join(VOCABULARIES)}",
                file=where,
                remedy="Save the tokenizer into the model folder",
            )
        )
    tensors: dict[str, TensorHeader] = {}
    weights: list[str] = []
    try:
        weights = weight_files(folder, where, links)
        for name in weights:
            if name.endswith(".safetensors"):
                _add_tensors(tensors, folder, name, where, links)
        if INDEX in weights:
            _check_index(folder, tensors, where)
    except UserErrors as error:
        faults += error.errors
    except UserError as error:
        faults.append(error)
    if faults:
        raise faults[0] if len(faults) == 1 else UserErrors(faults)
    return ModelFiles([*present, *weights], tensors)


def weight_files(folder: Path, where: object = None, links: bool = True) -> list[str]:
    """The names of the files with the model's weights: the single file, or the index and its shards.

    Raises:
        UserError: There is neither, or the index is damaged or names files outside of the folder.
    """
    folder, where = Path(folder), where or folder
    if _present(folder / SINGLE):
        return [SINGLE]
    if _present(folder / INDEX):
        if fault := _description_fault(folder, INDEX, where, links):
            raise fault
        return [INDEX, *sorted(set(_weight_map(folder, where).values()))]
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if others:
        raise UserError(
            f"neither {SINGLE} nor {INDEX}, which says what {', '.join(others[:3])} hold{'s' * (len(others) == 1)}",
            file=where,
            remedy="Add the index; an adapter is merged into its model first, with peft's `merge_and_unload`",
        )
    raise UserError(
        f"only pickled weights ({', '.join(pickles)})"
        if pickles
        else f"no safetensors weights: neither {SINGLE} nor {INDEX}",
        file=where,
        remedy="Save the model with `save_pretrained`, which writes safetensors, or pin a revision that has them",
    )


def tensor_headers(path: Path, where: object = None) -> Iterator[tuple[str, TensorHeader]]:
    """Names, types and shapes of the tensors of a safetensors file, from its header.

    Raises:
        UserError: The header is damaged, or does not agree with the size of the file.
    """
    where = where or path
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118  # no dictionary
                part = file.get_slice(name)
                yield name, TensorHeader(path.name, part.get_dtype(), tuple(part.get_shape()))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"no whole safetensors file: {error}", file=where, remedy="Copy or download it again"
        ) from error


def _present(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _file_fault(folder: Path, name: str, where: object, links: bool) -> UserError | None:
    """What is wrong with a file, whatever it should hold."""
    path, problem, remedy = folder / name, None, "Copy or download it again"
    try:
        if path.is_symlink() and not links and not _link_stays(path):
            problem, remedy = f"a link out of the folder, to {path.readlink()}", "Put a copy of the file in its place"
        elif not path.exists():
            problem = "a link to nothing" if path.is_symlink() else "missing"
        elif not path.is_file():
            problem = "no ordinary file"
        elif path.stat().st_size == 0:
            problem = "empty"
        else:
            with open(path, "rb") as data:
                if data.read(len(_LFS)) == _LFS:
                    problem = "only a pointer of git's large file storage, not the file itself"
                    remedy = "Run `git lfs pull` where the repository was cloned"
    except (OSError, ValueError) as error:  # ValueError: a NUL in a name
        problem = f"cannot be read: {error}"
    return UserError(problem, file=f"{where}/{name}", remedy=remedy) if problem else None


def _link_stays(path: Path) -> bool:
    """Whether a link leads into its folder, or from a snapshot of the Hub's cache to the files of that cache."""
    folder = path.parent.resolve()
    target = (folder / path.readlink()).parent.resolve()
    within_cache = folder.parent.name == "snapshots" and target == folder.parent.parent / "blobs"
    return target.is_relative_to(folder) or within_cache


def _description_fault(folder: Path, name: str, where: object, links: bool) -> UserError | None:
    """What is wrong with a file of text."""
    if fault := _file_fault(folder, name, where, links):
        return fault
    if name.endswith(".model"):  # SentencePiece's own format: the tokenizer reads it
        return None
    try:
        text = (folder / name).read_text(encoding="utf-8")
        value = json.loads(text) if name.endswith(".json") else {}
    except (ValueError, RecursionError) as error:
        kind = "UTF-8" if isinstance(error, UnicodeDecodeError) else "JSON"
        return UserError(f"not valid {kind}: {error}", file=f"{where}/{name}", remedy="Copy or download it again")
    if not isinstance(value, dict):
        return UserError("not a JSON object", file=f"{where}/{name}", remedy="Copy or download it again")
    return None


def _weight_map(folder: Path, where: object) -> dict[str, str]:
    """Tensor -> shard, from the index."""
    found: Any = json.loads((folder / INDEX).read_text(encoding="utf-8")).get("weight_map")
    if not isinstance(found, dict) or not found or not all(isinstance(shard, str) for shard in found.values()):
        raise UserError(
            "no object {tensor: file}", file=f"{where}/{INDEX}", key="weight_map", remedy="Download the index again"
        )
    for tensor, shard in found.items():
        if "/" in shard or "\\" in shard or not shard.endswith(".safetensors"):
            raise UserError(
                "not a safetensors file of this folder",
                file=f"{where}/{INDEX}",
                key=f"weight_map.{tensor}",
                value=shard,
                remedy="Do not use this model, or correct the index",
            )
    return found


def _add_tensors(tensors: dict[str, TensorHeader], folder: Path, name: str, where: object, links: bool) -> None:
    if fault := _file_fault(folder, name, where, links):
        raise fault
    for tensor, header in tensor_headers(folder / name, f"{where}/{name}"):
        if tensor in tensors:
            raise UserError(
                f"{tensors[tensor].file} holds it too",
                file=f"{where}/{name}",
                key=tensor,
                remedy="Save the model again with `save_pretrained`",
            )
        tensors[tensor] = header


def _check_index(folder: Path, tensors: dict[str, TensorHeader], where: object) -> None:
    lacking = [(tensor, shard) for tensor, shard in _weight_map(folder, where).items()
               if tensor not in tensors or tensors[tensor].file != shard]  # fmt: skip
    if lacking:
        tensor, shard = lacking[0]
        raise UserError(
            f"lacks {tensor}, which {INDEX} says is there" + f", and {len(lacking) - 1} more" * (len(lacking) > 1),
            file=f"{where}/{shard}",
            remedy="Copy or download shards and index again",
        )
