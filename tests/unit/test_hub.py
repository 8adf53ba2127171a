"""A Hub that is unreachable, lies, or has moved on: the pinned commit is used, or the job fails."""

import json
import shutil

import pytest
from pydantic import ValidationError

from distillery.config.model import HubModel
from distillery.config.task import HubSource
from distillery.errors import UserError
from distillery.hub import Repository

from .fakehub import blob
from .fakehub import hub as hub  # a fixture

pytestmark = pytest.mark.reliability("hub")

FILES = {"config.json": b'{"a": 1}', "data/part [1]*.parquet": b"PAR1 rows PAR1", "model.safetensors": b"weights" * 99}


@pytest.fixture
def repository(hub, tmp_path):
    """The repository at a commit, of which nothing is cached."""
    commit = hub.add("datasets/org/set", FILES)
    return Repository("dataset", "org/set", commit, tmp_path / "cache", "config/tasks/t.yaml", "source.path")


def fetched(repository, names=tuple(FILES)):
    folder = repository.fetch(names)
    return {name: (folder / name).read_bytes() for name in names}


def refused(repository, match, names=tuple(FILES)):
    with pytest.raises(UserError, match=match) as error:
        repository.fetch(names)
    return str(error.value)


def test_files_are_those_of_the_commit_after_the_branch_has_moved(hub, repository):
    hub.add("datasets/org/set", dict.fromkeys(FILES, b"newer"))
    assert fetched(repository) == FILES


def test_what_was_fetched_is_found_without_a_network(hub, repository, monkeypatch):
    assert fetched(repository) == FILES
    hub.stop()
    assert fetched(repository) == FILES
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fetched(repository) == FILES


def test_a_client_that_another_thread_closed_is_a_lost_connection(hub, repository, monkeypatch):
    """huggingface_hub 2.4 closes the client that all threads share where one of them cannot connect."""
    repository.listing()
    client = type("Closed", (), {"__getattr__": lambda self, name: getattr(None, name)})()
    for module in ("file_download", "utils._http"):
        monkeypatch.setattr(f"huggingface_hub.{module}.get_session", lambda: client, raising=False)
    refused(repository, "connection to the Hub was lost.*DISTILLERY_DOWNLOADS")


@pytest.mark.parametrize("offline", [True, False], ids=["offline", "closed port"])
@pytest.mark.parametrize(
    "listed", [True, False], ids=["a part of the commit in the cache", "another commit in the cache"]
)
def test_another_commit_in_the_cache_is_never_an_answer(offline, listed, hub, repository, tmp_path, monkeypatch):
    older = Repository(
        "dataset", "org/set", hub.add("datasets/org/set", {"config.json": b"old"}), tmp_path / "cache", "f"
    )
    fetched(older, ["config.json"])
    if listed:
        fetched(repository, ["config.json"])
    hub.stop()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    message = refused(repository, "DISTILLERY_DOWNLOADS.*other commits are not used")
    assert repository.commit in message and "config/tasks/t.yaml: source.path" in message


@pytest.mark.parametrize(
    ("status", "code", "match"),
    [
        (401, "GatedRepo", "licence accepted.*HF_TOKEN"),
        (403, "GatedRepo", "licence accepted.*HF_TOKEN"),
        (401, "RepoNotFound", "not on the Hub, or not for this account.*HF_TOKEN"),
        (404, "RepoNotFound", "not on the Hub, or not for this account.*HF_TOKEN"),
        (404, "RevisionNotFound", "no such commit.*`revision`"),
        (500, "", "cannot be fetched"),
        (503, "", "cannot be fetched"),
    ],
)
def test_a_refusal_says_what_to_do(status, code, match, hub, repository):
    hub.refuse["datasets/org/set"] = (status, code)
    refused(repository, match)


def test_a_refusal_does_not_hide_what_is_cached(hub, repository):
    fetched(repository)
    hub.refuse["datasets/org/set"] = (403, "GatedRepo")
    assert fetched(repository) == FILES


def test_a_commit_that_the_hub_does_not_have_is_refused(repository, tmp_path):
    refused(Repository("dataset", "org/set", "a" * 40, tmp_path / "cache", "f"), "no such commit")


def test_a_file_that_the_commit_lacks_is_named_with_what_there_is(repository):
    refused(repository, "has no file rows.csv. It has config.json, data/part", ["rows.csv"])


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "changed, same size": lambda path: path.write_bytes(b"X" + path.read_bytes()[1:]),
    "empty": lambda path: path.write_bytes(b""),
    "of another commit": lambda path: path.write_bytes(b"newer"),
}


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_cached_file_that_is_not_the_commits_is_refused(damage, name, offline, repository, monkeypatch):
    path = (repository.fetch(FILES) / name).resolve()
    damage(path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    message = refused(repository, "the commit's file")
    assert f"{name}: " in message and f"Delete {path}" in message


def test_the_remedy_for_a_damaged_file_helps(repository):
    link = repository.fetch(FILES) / "config.json"
    path = link.resolve()
    path.write_bytes(b"damaged!")
    refused(repository, "git blob")
    path.unlink()
    link.unlink()
    assert fetched(repository) == FILES


def test_a_lost_file_is_fetched_again(repository):
    path = (repository.fetch(FILES) / "model.safetensors").resolve()
    path.unlink()
    assert fetched(repository) == FILES


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("served", [b"", b"other bytes", b"longer than before" * 99])
def test_a_server_that_gives_other_bytes_is_refused(served, name, hub, repository):
    hub.served[name] = served
    refused(repository, "(?s)commit's file|cannot be fetched|did not give")


def test_a_server_that_answers_with_another_commit_is_refused(hub, repository):
    hub.headers["X-Repo-Commit"] = "b" * 40
    refused(repository, "did not give .* of this commit.*HF_ENDPOINT")


@pytest.mark.parametrize("etag", ["../../../../written", "/tmp/written", "..", "a/b", r"..\..\written", ""])
def test_an_etag_that_is_a_path_writes_nothing(etag, hub, repository, tmp_path):
    """huggingface_hub 2.4 names files of its cache after this header."""
    hub.headers |= {"ETag": f'"{etag}"', "X-Linked-Etag": f'"{etag}"'}
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    refused(repository, "no digest")
    assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before
    assert not list(tmp_path.rglob("*written*"))


HOSTILE = ["../x", "../../etc/x", "/etc/x", "a/../../x", "C:\\x", "..\\x", "a//b", "./x", "", "a\nb", "a\0b", "\ud800"]


@pytest.mark.parametrize("name", HOSTILE, ids=map(ascii, HOSTILE))
def test_a_listing_that_leads_out_of_the_folder_is_refused(name, hub, repository, tmp_path):
    hub.listed["datasets/org/set"] = [{"type": "file", "path": name, "size": 1, "oid": blob(b"x")}]
    refused(repository, "leads out of its folder", ["config.json"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "entry",
    [
        {"size": -1, "oid": "0" * 40},
        {"size": 1, "oid": "../../x"},
        {"size": "many", "oid": "0" * 40},
        {"size": 1},
        {"size": 1, "oid": "0" * 40, "lfs": {"oid": "x", "size": 1, "pointerSize": 1}},
    ],
)
def test_a_listing_that_is_none_is_refused(entry, hub, repository):
    hub.listed["datasets/org/set"] = [{"type": "file", "path": "x", **entry}]
    refused(repository, "cannot be fetched", ["config.json"])


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b'{"../x": 1}', b'{"config.json": {"size": -1}}', b"\xff"])
def test_a_damaged_listing_in_the_cache_is_asked_for_again(kept, repository, tmp_path):
    fetched(repository)
    (file,) = (tmp_path / "cache" / "listings").rglob("*.json")
    file.write_bytes(kept)
    assert fetched(repository) == FILES
    assert set(json.loads(file.read_bytes())) == set(FILES)


def test_a_hostile_listing_in_the_cache_is_refused(repository, tmp_path):
    fetched(repository)
    (file,) = (tmp_path / "cache" / "listings").rglob("*.json")
    listing = json.loads(file.read_bytes())
    file.write_text(json.dumps({**listing, "../../x": listing["config.json"]}))
    refused(repository, "leads out of its folder")


def test_the_caches_own_list_of_files_decides_nothing(hub, repository, tmp_path):
    """The client keeps a list of its own; without it, and with a file lost, an incomplete folder is still found."""
    folder = repository.fetch(FILES)
    shutil.rmtree(tmp_path / "cache" / "datasets--org--set" / "trees", ignore_errors=True)
    (folder / "model.safetensors").unlink()
    hub.stop()
    refused(repository, "model.safetensors of this commit|not in the cache|other commits are not used")


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/1", "a" * 39, "A" * 40, "a" * 7, "", "../" + "a" * 37])
def test_a_branch_or_tag_is_refused_with_the_settings(revision):
    with pytest.raises(ValidationError, match="revision"):
        HubModel(kind="hub", id="org/model", revision=revision)
    with pytest.raises(ValidationError, match="revision"):
        HubSource(kind="hub", path="org/set", revision=revision, splits={"train": "train"})
