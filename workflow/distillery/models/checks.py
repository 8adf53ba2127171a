"""Does a model folder hold the model that its configuration describes, with a tokenizer that fits it?

transformers itself answers. It builds the model of the configuration without memory for weights (torch's `meta`
device) and loads the headers of the weight files into it, so that its own rules say which names belong together: tied
weights, older names, experts that are merged. Loading would fill what is missing with random numbers and drop what
does not fit, with a warning; here both are refused. No tensor is read and no code of a model is run. It takes
milliseconds for a small model and seconds for a large one.

Not compared: weights in a quantised format, whose layout the quantiser defines; what a chat template writes.
"""

import contextlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distillery.errors import UserError
from distillery.models.weights import INDEX, LAYER_KEYS, SINGLE, ModelFiles, TensorHeader

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

FLOATS = {"F64", "F32", "F16", "BF16"}
"""Types that weights have in models that are not quantised."""

_AGAIN = "Copy or download it again"
_LAYERS = (*LAYER_KEYS, "num_decoder_layers", "decoder_layers")
_MANY_LAYERS, _LARGE = 1000, 1_000_000
"""What a configuration may say of layers that share weights, and of sizes that no tensor has."""


def check_model(folder: Path, files: ModelFiles, architecture: str, where: object) -> None:
    """Check a folder whose files have passed `weights.check_files`.

    Args:
        folder: Holds the files.
        files: What `check_files` found.
        architecture: `causal` or `encoder-decoder`.
        where: Name of the folder in messages.

    Raises:
        UserError: Configuration, weights, tokenizer or their settings do not fit together; it names the file.
    """
    with _quiet_transformers():
        config = _config(folder, files, where)
        model = _empty_model(config, files, architecture, where)
        tokenizer = _tokenizer(folder, files, where)
        rows = model.get_input_embeddings().weight.shape[0]
        _check_ids(tokenizer, rows, _tokenizer_file(files, where))
        _check_templates(tokenizer, files, where)
        if "generation_config.json" in files.names:
            from transformers import GenerationConfig

            with fault_of(f"{where}/generation_config.json", "not settings of generation"):
                GenerationConfig.from_pretrained(folder)


def _config(folder: Path, files: ModelFiles, where: object) -> "PreTrainedConfig":
    from transformers import CONFIG_MAPPING, AutoConfig

    file = f"{where}/config.json"
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind = settings.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise UserError(
            "no kind of model that transformers knows; code that comes with a model is not run",
            file=file,
            key="model_type",
            value=kind,
            remedy="Use a model that transformers implements",
        )
    _check_numbers(settings, files.tensors, file)
    with fault_of(file, "not the configuration of a model"):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def _check_numbers(settings: Mapping[str, Any], tensors: Mapping[str, TensorHeader], file: str) -> None:
    """Refuse numbers of layers and sizes that these weights cannot have: building such a model could take hours."""
    largest = max((length for header in tensors.values() for length in header.shape), default=0)
    for key, value in _with_text_part(settings):
        name = key.rsplit(".")[-1]
        if name in _LAYERS and value is not None and (type(value) is not int or value < 1):
            problem = "not a number of layers"
        elif "layer" in name and isinstance(value, int) and value > max(len(tensors), _MANY_LAYERS):
            problem = f"there are only {len(tensors)} tensors"
        elif name.endswith(("size", "dim", "heads")) and isinstance(value, int) and value > max(largest, _LARGE):
            problem = f"no tensor is longer than {largest}"
        else:
            continue
        raise UserError(problem, file=file, key=key, value=value, remedy=_AGAIN)


def _with_text_part(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from settings.items()
    if isinstance(settings.get("text_config"), dict):
        yield from ((f"text_config.{key}", value) for key, value in settings["text_config"].items())


def _empty_model(config: "PreTrainedConfig", files: ModelFiles, architecture: str, where: object) -> "PreTrainedModel":
    """The model on the meta device, after the headers of its weights were loaded into it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
    from transformers.quantizers import AutoQuantizationConfig

    loader = AutoModelForCausalLM if architecture == "causal" else AutoModelForSeq2SeqLM
    if type(config) not in loader._model_mapping:
        raise UserError(
            f"transformers has no {architecture} model of this kind",
            file=f"{where}/config.json",
            key="model_type",
            value=config.model_type,
            remedy="Correct `architecture` in config/models.yaml, or use another model",
        )
    with fault_of(f"{where}/config.json", "no model can be built from it"), torch.device("meta"):
        model = loader.from_config(config, trust_remote_code=False)
    if (quantised := getattr(config, "quantization_config", None)) is not None:
        with fault_of(f"{where}/config.json", "quantization_config is of no kind that transformers knows"):
            AutoQuantizationConfig.from_dict(dict(quantised))
        logger.warning("%s: quantised weights are not compared with the configuration", where)
        return model
    _check_types(model, files.tensors, where)
    types = {"BOOL": torch.bool, "I64": torch.int64, "I32": torch.int32, "F32": torch.float32}
    empty = {
        name: torch.empty(header.shape, dtype=types.get(header.dtype, torch.bfloat16), device="meta")
        for name, header in files.tensors.items()
    }
    with fault_of(f"{where}/{_weights(files)}", "its weights do not fit config.json"):
        _, info = type(model).from_pretrained(
            None,
            config=config,
            state_dict=empty,
            device_map={"": "meta"},
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    refuse_misfit(model, info, files, where)
    return model


def _check_types(model: "PreTrainedModel", tensors: Mapping[str, TensorHeader], where: object) -> None:
    names = {name for name, _ in model.named_parameters()}
    for name, header in tensors.items():
        if name in names and header.dtype not in FLOATS:
            raise UserError(
                f"weights of type {header.dtype}, and config.json has no quantization_config",
                file=f"{where}/{header.file}",
                key=name,
                remedy=_AGAIN,
            )


def refuse_misfit(model: "PreTrainedModel", info: Mapping[str, Any], files: ModelFiles, where: object) -> None:
    """Refuse what loading would fill, cut or drop.

    Args:
        info: What transformers reports of loading (`output_loading_info`).
    """
    if info["mismatched_keys"]:
        name, found, wanted = min(info["mismatched_keys"])
        raise UserError(
            f"has the shape {list(found)}; config.json asks for {list(wanted)}{_more(info['mismatched_keys'])}",
            file=f"{where}/{_file_of(name, files)}",
            key=name,
            remedy="Use the configuration that belongs to these weights",
        )
    if info["missing_keys"]:
        raise UserError(
            f"lacks weights that config.json asks for{_more(info['missing_keys'])}",
            file=f"{where}/{_weights(files)}",
            key=min(info["missing_keys"]),
            remedy=f"{_AGAIN}, or use the configuration that belongs to these weights",
        )
    if info["error_msgs"]:
        raise UserError(
            f"does not fit config.json: {info['error_msgs'][0]}", file=f"{where}/{_weights(files)}", remedy=_AGAIN
        )
    patterns = {_pattern(name) for name, _ in model.named_parameters()}
    layers = sorted(name for name in info["unexpected_keys"] if _pattern(name) in patterns)
    if layers:
        raise UserError(
            f"more layers than config.json asks for{_more(layers)}",
            file=f"{where}/{_file_of(layers[0], files)}",
            key=layers[0],
            remedy="Use the configuration that belongs to these weights",
        )
    if info["unexpected_keys"]:
        logger.warning("%s: not used: %s%s", where, min(info["unexpected_keys"]), _more(info["unexpected_keys"]))


def _pattern(name: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", "#", name)


def _more(names: Any) -> str:
    return f", and {len(names) - 1} more" if len(names) > 1 else ""


def _weights(files: ModelFiles) -> str:
    return next((name for name in (SINGLE, INDEX) if name in files.names), files.names[0])


def _file_of(name: str, files: ModelFiles) -> str:
    """The file of a tensor; transformers may have added or removed a prefix."""
    for key, header in files.tensors.items():
        if key == name or key.endswith(f".{name}") or name.endswith(f".{key}"):
            return header.file
    return _weights(files)


def _tokenizer_file(files: ModelFiles, where: object) -> str:
    """The file, or the pair of files, that a vocabulary comes from."""
    for names in (
        ["tokenizer.json"],
        ["tokenizer.model"],
        ["spiece.model"],
        ["vocab.json", "merges.txt"],
        ["vocab.txt"],
    ):
        if names[0] in files.names:
            absent = " (missing)" if names[-1] not in files.names else ""
            return f"{where}/{' with '.join(names)}{absent}"
    return f"{where}/tokenizer_config.json"


def _tokenizer(folder: Path, files: ModelFiles, where: object) -> "PreTrainedTokenizerBase":
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    if "tokenizer.json" in files.names:
        with fault_of(f"{where}/tokenizer.json", "not a tokenizer"):
            Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings = "tokenizer.json" in files.names and "tokenizer_config.json" in files.names
    file = f"{where}/tokenizer_config.json" if settings else _tokenizer_file(files, where)
    with fault_of(file, "the tokenizer cannot be loaded"):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def _check_ids(tokenizer: "PreTrainedTokenizerBase", rows: int, file: str) -> None:
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1], default=("", -1))
    if largest >= rows:
        raise UserError(
            f"the token has the id {largest}, and the model has embeddings for ids below {rows}",
            file=file,
            key=token,
            remedy="Use the tokenizer that belongs to the model, or enlarge its embeddings (`resize_token_embeddings`)",
        )
    with fault_of(file, "it cannot encode a text"):
        if not tokenizer("1 + 1 = 2", add_special_tokens=False).input_ids:
            raise UserError("gives no token for '1 + 1 = 2'", file=file, remedy=_AGAIN)


def _check_templates(tokenizer: "PreTrainedTokenizerBase", files: ModelFiles, where: object) -> None:
    from transformers.utils.chat_template_utils import _compile_jinja_template

    template: Any = tokenizer.chat_template
    file = "chat_template.jinja" if "chat_template.jinja" in files.names else "tokenizer_config.json"
    for text in template.values() if isinstance(template, dict) else [template] if template is not None else []:
        with fault_of(f"{where}/{file}", "its chat template is broken"):
            _compile_jinja_template(text)


@contextlib.contextmanager
def fault_of(file: str, problem: str) -> Iterator[None]:
    """Whatever a library raises on a damaged file becomes an error that names the file."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, UserError):
        raise
    except BaseException as error:  # tokenizers panics with an exception of its own, which is no Exception
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{problem}: {reason}", file=file, remedy=_AGAIN) from error


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No bars and no warnings: what they would say is refused here."""
    from transformers.utils import logging as messages

    verbosity, bars = messages.get_verbosity(), messages.is_progress_bar_enabled()
    messages.set_verbosity(messages.CRITICAL)
    messages.disable_progress_bar()
    try:
        yield
    finally:
        messages.set_verbosity(verbosity)
        if bars:
            messages.enable_progress_bar()
