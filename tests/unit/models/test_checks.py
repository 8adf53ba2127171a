"""Damaged model folders are refused with the name of the file, and whole ones are accepted, whatever their kind."""

import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BertConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    Qwen2Config,
    T5Config,
)

from distillery.config.model import LocalModel, RandomModel
from distillery.errors import UserError
from distillery.models.sources import prepare_model

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD, LAST = "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 999\n"
UP = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A valid tiny folder with three shards, and the same model in a single file."""
    root = tmp_path_factory.mktemp("whole")
    prepare_model(RandomModel(kind="random", layers=2, hidden_size=32), root / "made", parent=None, downloads=root)
    (root / "made" / "manifest.json").unlink()
    shutil.copytree(root / "made", root / "single")
    model = AutoModelForCausalLM.from_pretrained(root / "made")
    shutil.rmtree(root / "made")
    AutoTokenizer.from_pretrained(root / "single").save_pretrained(root / "sharded")
    model.save_pretrained(root / "sharded", max_shard_size="36KB")
    assert {SHARD, LAST, INDEX} <= {path.name for path in (root / "sharded").iterdir()}
    return root


def prepared(source: Path, out: Path, architecture: str = "causal"):
    declared = LocalModel(kind="local", path=str(source), architecture=architecture)
    return prepare_model(declared, out, parent=None, downloads=out.parent)


# What is done to a file


def rewrite(change):
    """Change the bytes of the file."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


def content(data: bytes):
    return rewrite(lambda _old: data)


def field(**values):
    """Set fields of a JSON file; None removes them."""

    def change(path: Path) -> None:
        document = {**json.loads(path.read_text()), **values}
        path.write_text(json.dumps({key: value for key, value in document.items() if value is not None}))

    return change


def header(change):
    """Change the header of a safetensors file as JSON; offsets of the data stay."""

    def rewritten(old: bytes) -> bytes:
        (size,) = struct.unpack("<Q", old[:8])
        document = json.loads(old[8 : 8 + size])
        document = change(document) or document
        text = document if isinstance(document, bytes) else json.dumps(document).encode()
        return struct.pack("<Q", len(text)) + text + old[8 + size :]

    return rewrite(rewritten)


def tensors(change):
    """Change the tensors of a safetensors file."""

    def change_file(path: Path) -> None:
        held = load_file(path)
        change(held)
        save_file(held, path, metadata={"format": "pt"})

    return change_file


def index(change):
    def change_file(path: Path) -> None:
        document = json.loads(path.read_text())
        change(document["weight_map"])
        path.write_text(json.dumps(document))

    return change_file


def instead(make):
    """Put something else in the place of the file."""

    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


def outside(path: Path) -> None:
    """A link out of the folder, to a whole copy."""
    copy = path.parent.parent / "elsewhere"
    shutil.copyfile(path, copy)
    path.unlink()
    path.symlink_to(copy)


def template(text: str):
    return lambda path: path.with_name("chat_template.jinja").write_text(text)


def vocabulary(change):
    def change_file(path: Path) -> None:
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return change_file


def deep(_old: bytes) -> bytes:
    return b'{"a":' * 100_000 + b"1" + b"}" * 100_000


DAMAGED = {
    # name: (folder, file that is changed, change, file that the message names)
    "config missing": ("single", "config.json", Path.unlink, "config.json"),
    "config empty": ("single", "config.json", content(b""), "config.json"),
    "config cut": ("single", "config.json", rewrite(lambda old: old[: len(old) // 2]), "config.json"),
    "config is a list": ("single", "config.json", content(b"[]"), "config.json"),
    "config is null": ("single", "config.json", content(b"null"), "config.json"),
    "config not UTF-8": ("single", "config.json", content(b'{"model_type": "\xff"}'), "config.json"),
    "config UTF-16": ("single", "config.json", rewrite(lambda old: old.decode().encode("utf-16")), "config.json"),
    "config nested deeply": ("single", "config.json", rewrite(deep), "config.json"),
    "config a pointer": ("single", "config.json", content(LFS), "config.json"),
    "config a folder": ("single", "config.json", instead(Path.mkdir), "config.json"),
    "no model type": ("single", "config.json", field(model_type=None), "config.json"),
    "unknown model type": ("single", "config.json", field(model_type="own-model"), "config.json"),
    "model type a number": ("single", "config.json", field(model_type=3), "config.json"),
    "model type of images": ("single", "config.json", field(model_type="vit"), "config.json"),
    "model of another kind": ("single", "config.json", field(model_type="gpt2"), SINGLE),
    "hidden size a text": ("single", "config.json", field(hidden_size="many"), "config.json"),
    "hidden size zero": ("single", "config.json", field(hidden_size=0), "config.json"),
    "hidden size doubled": ("single", "config.json", field(hidden_size=64), SINGLE),
    "heads zero": ("single", "config.json", field(num_attention_heads=0), "config.json"),
    "layers a text": ("single", "config.json", field(num_hidden_layers="2"), "config.json"),
    "layers without end": ("single", "config.json", field(num_hidden_layers=10**9), "config.json"),
    "no layers": ("single", "config.json", field(num_hidden_layers=0, layer_types=None), "config.json"),
    "layers below zero": ("single", "config.json", field(num_hidden_layers=-1, layer_types=None), "config.json"),
    "heads without end": ("single", "config.json", field(head_dim=10**9), "config.json"),
    "a quantiser that is not known": ("single", "config.json", field(quantization_config={"a": 1}), "config.json"),
    "a layer more": ("single", "config.json", field(num_hidden_layers=3, layer_types=None), SINGLE),
    "a layer less": ("single", "config.json", field(num_hidden_layers=1, layer_types=None), SINGLE),
    "vocabulary larger": ("single", "config.json", field(vocab_size=200), SINGLE),
    "vocabulary missing": ("single", "config.json", field(vocab_size=None), SINGLE),
    "weights missing": ("single", SINGLE, Path.unlink, "safetensors"),
    "weights empty": ("single", SINGLE, content(b""), SINGLE),
    "weights cut in half": ("single", SINGLE, rewrite(lambda old: old[: len(old) // 2]), SINGLE),
    "weights lack a byte": ("single", SINGLE, rewrite(lambda old: old[:-1]), SINGLE),
    "weights have a byte more": ("single", SINGLE, rewrite(lambda old: old + b"x"), SINGLE),
    "weights cut in the header": ("single", SINGLE, rewrite(lambda old: old[:100]), SINGLE),
    "weights have seven bytes": ("single", SINGLE, rewrite(lambda old: old[:7]), SINGLE),
    "weights a pointer": ("single", SINGLE, content(LFS), SINGLE),
    "weights a web page": ("single", SINGLE, content(b"<!DOCTYPE html><html>Sign in</html>" * 9), SINGLE),
    "header without end": ("single", SINGLE, rewrite(lambda old: b"\xff" * 8 + old[8:]), SINGLE),
    "header no JSON": ("single", SINGLE, header(lambda _header: b"{" * 64), SINGLE),
    "header not UTF-8": ("single", SINGLE, header(lambda _header: b'{"\xff": 1}'), SINGLE),
    "shape in the header": ("single", SINGLE, header(lambda held: held[UP].update(shape=[3, 3])), SINGLE),
    "shape beyond numbers": ("single", SINGLE, header(lambda held: held[UP].update(shape=[2**62, 2**62])), SINGLE),
    "type unknown": ("single", SINGLE, header(lambda held: held[UP].update(dtype="F31")), SINGLE),
    "offsets swapped": ("single", SINGLE, header(lambda held: held[UP]["data_offsets"].reverse()), SINGLE),
    "offsets too large": ("single", SINGLE, header(lambda held: held[UP].update(data_offsets=[0, 10**9])), SINGLE),
    "tensor missing": ("single", SINGLE, tensors(lambda held: held.pop(UP)), SINGLE),
    "tensor renamed": ("single", SINGLE, tensors(lambda held: held.update(other=held.pop(UP))), SINGLE),
    "tensor transposed": ("single", SINGLE, tensors(lambda held: held.update({UP: held[UP].T.contiguous()})), SINGLE),
    "weights of integers": ("single", SINGLE, tensors(lambda held: held.update({UP: held[UP].char()})), SINGLE),
    "no tensors": ("single", SINGLE, tensors(dict.clear), SINGLE),
    "shard missing": ("sharded", LAST, Path.unlink, LAST),
    "shard empty": ("sharded", LAST, content(b""), LAST),
    "shard cut in half": ("sharded", LAST, rewrite(lambda old: old[: len(old) // 2]), LAST),
    "shard a pointer": ("sharded", LAST, content(LFS), LAST),
    "shard of another model": ("sharded", LAST, tensors(lambda held: held.pop(min(held))), LAST),
    "shard twice": ("sharded", LAST, lambda path: shutil.copyfile(path.with_name(SHARD), path), LAST),
    "index missing": ("sharded", INDEX, Path.unlink, INDEX),
    "index cut": ("sharded", INDEX, rewrite(lambda old: old[: len(old) // 2]), INDEX),
    "index a list": ("sharded", INDEX, content(b"[]"), INDEX),
    "index without a map": ("sharded", INDEX, content(b'{"metadata": {}}'), INDEX),
    "index with an empty map": ("sharded", INDEX, index(dict.clear), INDEX),
    "index names a number": ("sharded", INDEX, index(lambda held: held.update({UP: 1})), INDEX),
    "index leads up": ("sharded", INDEX, index(lambda held: held.update({UP: f"../{SHARD}"})), INDEX),
    "index leads to the root": ("sharded", INDEX, index(lambda held: held.update({UP: "/x.safetensors"})), INDEX),
    "index names a pickle": ("sharded", INDEX, index(lambda held: held.update({UP: "pytorch_model.bin"})), INDEX),
    "index names an absent tensor": ("sharded", INDEX, index(lambda held: held.update(other=SHARD)), SHARD),
    "tokenizer missing": ("single", "tokenizer.json", Path.unlink, "tokenizer"),
    "tokenizer empty": ("single", "tokenizer.json", content(b""), "tokenizer.json"),
    "tokenizer cut": ("single", "tokenizer.json", rewrite(lambda old: old[: len(old) // 2]), "tokenizer.json"),
    "tokenizer of nothing": ("single", "tokenizer.json", content(b"{}"), "tokenizer.json"),
    "tokenizer a pointer": ("single", "tokenizer.json", content(LFS), "tokenizer.json"),
    "tokenizer not UTF-8": ("single", "tokenizer.json", rewrite(lambda old: old[:-2] + b"\xff}"), "tokenizer.json"),
    "token beyond the embeddings": (
        "single", "tokenizer.json",
        vocabulary(lambda held: held["model"]["vocab"].update(beyond=5000)), "tokenizer.json",
    ),
    "added token beyond the embeddings": (
        "single", "tokenizer.json",
        vocabulary(lambda held: held["added_tokens"].append({**held["added_tokens"][0], "id": 5000, "content": "<x>"})),
        "tokenizer.json",
    ),
    "tokenizer settings a list": ("single", "tokenizer_config.json", content(b"[1]"), "tokenizer_config.json"),
    "tokenizer settings of no use": (
        "single", "tokenizer_config.json", field(added_tokens_decoder="none"), "tokenizer_config.json",
    ),
    "generation settings cut": ("single", "generation_config.json", content(b'{"temp'), "generation_config.json"),
    "generation settings of no use": (
        "single", "generation_config.json", field(pad_token_id="x"), "generation_config.json",
    ),
    "tokenizer that drops every text": (
        "single", "tokenizer.json",
        vocabulary(lambda held: held.update(
            normalizer={"type": "Replace", "pattern": {"Regex": "."}, "content": ""}
        )), "tokenizer.json",
    ),
    "generation settings a list": ("single", "generation_config.json", content(b"[]"), "generation_config.json"),
    "chat template broken": ("single", "tokenizer.json", template("{% if %}"), "chat_template.jinja"),
    "chat template open": ("single", "tokenizer.json", template("{% for m in messages %}x"), "chat_template.jinja"),
    "chat template a pointer": ("single", "tokenizer.json", template(LFS.decode()), "chat_template.jinja"),
    "chat template in the settings": (
        "single", "tokenizer_config.json", field(chat_template="{{ broken"), "tokenizer_config.json",
    ),
    "a link to nothing": ("single", SINGLE, instead(lambda path: path.symlink_to("nowhere")), SINGLE),
    "a link out of the folder": ("single", SINGLE, outside, SINGLE),
    "a linked tokenizer": ("single", "tokenizer.json", outside, "tokenizer.json"),
    "a link to a device": ("single", SINGLE, instead(lambda path: path.symlink_to("/dev/zero")), SINGLE),
    "a circle of links": ("single", SINGLE, instead(lambda path: path.symlink_to(path.name)), SINGLE),
    "weights a pipe": ("single", SINGLE, instead(lambda path: __import__("os").mkfifo(path)), SINGLE),
}  # fmt: skip


@pytest.mark.reliability("model-folder")
@pytest.mark.parametrize(("folder", "changed", "change", "named"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_folder_is_refused_with_the_name_of_the_file(folder, changed, change, named, whole, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(whole / folder, source)
    change(source / changed)
    with pytest.raises(UserError) as refused:
        prepared(source, tmp_path / "out")
    assert str(source) in str(refused.value) and named in str(refused.value)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out.*"))


MERGES = {
    "merges missing": ("merges.txt", Path.unlink, "merges.txt"),
    "merges of no use": ("merges.txt", content(b"a b c d\nx\n"), "merges.txt"),
    "merges not UTF-8": ("merges.txt", content(b"#version\n\xff \xfe\n"), "merges.txt"),
    "vocabulary of another model": ("vocab.json", content(b'{"a": 0}'), "vocab.json"),
    "vocabulary of texts": ("vocab.json", content(b'{"a": "x"}'), "vocab.json"),
    "vocabulary below zero": ("vocab.json", content(b'{"a": -1}'), "vocab.json"),
    "vocabulary missing": ("vocab.json", Path.unlink, "vocab.json"),
}


@pytest.fixture(scope="module")
def in_two_files(whole, tmp_path_factory):
    """The model with GPT-2's files of a vocabulary."""
    folder = tmp_path_factory.mktemp("two") / "source"
    shutil.copytree(whole / "single", folder)
    (folder / "tokenizer.json").unlink()
    names = [f"{left} {right}" for left, right in (("+", "2"), ("1", "+"))]
    (folder / "vocab.json").write_text(json.dumps({text: n for n, text in enumerate([*"+123=", "Ġ", "+2", "1+"])}))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *names]) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    return folder


@pytest.mark.reliability("model-folder")
@pytest.mark.parametrize(("changed", "change", "named"), MERGES.values(), ids=MERGES)
def test_a_damaged_vocabulary_of_two_files_is_refused(changed, change, named, in_two_files, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(in_two_files, source)
    prepared(source, tmp_path / "whole")
    change(source / changed)
    with pytest.raises(UserError, match=named):
        prepared(source, tmp_path / "out")


def test_all_damaged_files_are_reported_at_once(whole, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(whole / "sharded", source)
    for name in ("config.json", "tokenizer.json", LAST):
        (source / name).write_bytes(b"")
    with pytest.raises(UserError) as refused:
        prepared(source, tmp_path / "out")
    assert [line.split(": ")[0].rsplit("/")[-1] for line in str(refused.value).splitlines()] == [
        "config.json", "tokenizer.json", LAST,
    ]  # fmt: skip


SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
T5_SIZES = {"d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 4, "d_kv": 8}
WHOLE = {
    "llama": LlamaConfig(vocab_size=128, **SIZES),
    "llama, tied": LlamaConfig(vocab_size=128, **SIZES, tie_word_embeddings=True),
    "qwen2": Qwen2Config(vocab_size=128, **SIZES, num_key_value_heads=2),
    "gpt2": GPT2Config(vocab_size=128, n_embd=32, n_layer=2, n_head=4),
    "gpt2, untied": GPT2Config(vocab_size=128, n_embd=32, n_layer=2, n_head=4, tie_word_embeddings=False),
    "gpt-neox": GPTNeoXConfig(vocab_size=128, **SIZES),
    "bert": BertConfig(vocab_size=128, **SIZES, is_decoder=True),
    "mixtral": MixtralConfig(vocab_size=128, **SIZES, num_key_value_heads=2, num_local_experts=2),
    "t5": T5Config(vocab_size=128, **T5_SIZES),
    "t5, untied": T5Config(vocab_size=128, **T5_SIZES, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
}
SAVED = {
    "float32": (torch.float32, "1GB"),
    "bfloat16, shards": (torch.bfloat16, "20KB"),
    "float16": (torch.float16, "1GB"),
}


@pytest.mark.reliability("model-folder")
@pytest.mark.parametrize(("dtype", "shards"), SAVED.values(), ids=SAVED)
@pytest.mark.parametrize("config", WHOLE.values(), ids=WHOLE)
def test_what_transformers_saves_is_accepted(config, dtype, shards, whole, tmp_path):
    architecture = "encoder-decoder" if config.is_encoder_decoder else "causal"
    loader = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = loader.from_config(config).to(dtype)
    model.save_pretrained(tmp_path / "source", max_shard_size=shards)
    AutoTokenizer.from_pretrained(whole / "single").save_pretrained(tmp_path / "source")
    assert (tmp_path / "source" / INDEX).exists() == (shards == "20KB")
    manifest = prepared(tmp_path / "source", tmp_path / "out", architecture)
    assert manifest.parameters == sum(weights.numel() for weights in model.parameters())  # tied weights count once


def test_a_second_copy_beside_the_weights_is_neither_copied_nor_counted(whole, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(whole / "sharded", source)
    for name in (SINGLE, "generation_config.json"):
        shutil.copyfile(whole / "single" / name, source / name)
    shutil.copyfile(whole / "single" / SINGLE, source / "consolidated.safetensors")
    made = prepared(source, tmp_path / "out")
    assert made.parameters == prepared(whole / "single", tmp_path / "alone").parameters
    assert [path.name for path in (tmp_path / "out").glob("*.safetensors*")] == [SINGLE]


def test_a_snapshot_of_the_hubs_cache_is_a_local_model_though_its_files_are_links(whole, tmp_path):
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / ("c" * 40)
    shutil.copytree(whole / "single", blobs)
    snapshot.mkdir(parents=True)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert prepared(snapshot, tmp_path / "out").identity == prepared(whole / "single", tmp_path / "two").identity
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())


def test_an_adapter_without_its_model_is_refused_with_the_remedy(whole, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(whole / "single", source)
    (source / SINGLE).rename(source / "adapter_model.safetensors")
    with pytest.raises(UserError, match=r"adapter_model.safetensors holds.*merge_and_unload"):
        prepared(source, tmp_path / "out")


def test_weights_are_not_read_for_the_check(whole, tmp_path):
    """A sparse file of 64 GB passes: only its header is read."""
    from distillery.models.weights import tensor_headers

    rows, width = 2**25, 1024
    text = json.dumps({"w": {"dtype": "BF16", "shape": [rows, width], "data_offsets": [0, rows * width * 2]}}).encode()
    with open(tmp_path / SINGLE, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + rows * width * 2)
    assert [(name, held.shape) for name, held in tensor_headers(tmp_path / SINGLE)] == [("w", (rows, width))]
