"""Small rules of running a job, each against values written by hand: imports, paths of modules, versions, modes."""

import ast
import json
import os
import stat
import time
from importlib import metadata

import pytest

from distillery.jobs import cache_objects, code_digest, gpus
from distillery.jobs.bindings import absolute
from distillery.jobs.cache_entries import MAX_DEPTH, Artifact, Content, Entry, Unusable, parsed
from distillery.jobs.cache_objects import can_be_shared
from distillery.jobs.definition_forms import _location
from distillery.jobs.locks import FileLock


@pytest.mark.parametrize(
    ("statement", "module"),
    [
        ("from x import y", "x"),
        ("from .x import y", "a.b.c.x"),
        ("from . import y", "a.b.c"),
        ("from ..x import y", "a.b.x"),
        ("from ...x.z import y", "a.x.z"),
    ],
)
def test_a_relative_import_starts_from_its_package(statement, module):
    (node,) = ast.parse(statement).body
    assert absolute(node, "a.b.c") == module


@pytest.mark.parametrize(
    ("expression", "place"),
    [
        ("Path(__file__)", ["__file__"]),
        ("Path(__file__).parent / 'x.json'", ["x.json"]),
        ("Path(__file__).resolve().parents[1] / 'x/y'", ["..", "x", "y"]),
        ("Path(__file__).with_name('x')", ["x"]),
        ("Path(__file__).parent.joinpath('x', 'y')", ["x", "y"]),
        ("Path(__file__).parent.joinpath('x', name)", None),
        ("Path(__file__).parent.joinpath('x', 3)", None),
        ("Path(other).parent", None),
        ("Path(__file__).parent / name", None),
    ],
)
def test_the_file_beside_a_module_is_known_where_its_path_is_written_out(expression, place):
    assert _location(ast.parse(expression, mode="eval").body) == place


def test_a_library_counts_by_its_first_two_numbers_and_is_absent_where_it_is_not_installed(monkeypatch):
    def version(library: str) -> str:
        if library == "gone":
            raise metadata.PackageNotFoundError(library)
        return {"a": "2.13.0+cpu", "b": "5", "c": "1.2.3.4"}[library]

    monkeypatch.setattr(code_digest, "LIBRARIES", {"train": ("a", "b", "c", "gone")})
    monkeypatch.setattr(metadata, "version", version)
    assert code_digest.library_versions("train") == {"a": "2.13", "b": "5", "c": "1.2", "gone": "absent"}
    assert code_digest.library_versions("no such stage") == {}


@pytest.mark.parametrize(
    ("mode", "uid", "shared"),
    [
        (0o444, 0, True), (0o555, 0, True), (0o400, 0, True), (0o644, 0, False), (0o464, 0, False), (0o446, 0, False),
        (0o4444, 0, False), (0o2444, 0, False), (0o1444, 0, False), (0o444, 1, False),
    ],
)  # fmt: skip
def test_an_object_is_shared_with_results_if_it_is_ours_and_nobody_may_write(mode, uid, shared):
    found = os.stat_result((stat.S_IFREG | mode, 1, 1, 1, os.geteuid() + uid, 0, 3, 0, 0, 0))
    assert can_be_shared(found) is shared


@pytest.mark.parametrize(("folder", "path", "problem"), [(True, "x.json", "folder"), (False, "made", "file")])
def test_an_output_of_the_other_kind_is_refused_by_what_it_is(folder, path, problem):
    name = "folder" if problem == "file" else "table"
    content = Content(sha256="a" * 64, bytes=1, mtime_ns=0)
    entry = Entry(
        key="b" * 32,
        stage="s",
        outputs={name: Artifact(folder=folder, files={"x" if folder else "": content})},
        record={},
    )
    with pytest.raises(Unusable, match=f"^{name} is a {problem}$"):
        entry.require_outputs({name: path})


def entry_with(record: object) -> bytes:
    return json.dumps({"key": "b" * 32, "stage": "s", "outputs": {}, "record": record}).encode()


@pytest.mark.parametrize("before", [0, 1, 2])
def test_every_part_of_an_entry_is_looked_at_for_what_cannot_be_written_again(before):
    """The fault is below a key that is not the last of its level."""
    fault: object = {"a": "\ud800", "z": 1}
    for _ in range(before):
        fault = {"a": fault, "m": [fault, 1], "z": {"x": 1}}
    with pytest.raises(Unusable):
        parsed(entry_with({"a": fault, "z": {"y": 1}}))


def test_an_entry_of_too_many_levels_is_none():
    deep: object = 1
    for _ in range(MAX_DEPTH + 1):
        deep = {"a": deep, "z": {}}
    assert parsed(entry_with({"z": {}}))
    with pytest.raises(Unusable):
        parsed(entry_with({"a": deep, "z": {}}))


def test_a_held_lock_shows_signs_of_life_and_no_other_does(tmp_path):
    path = tmp_path / "lock"
    lock = FileLock(path)
    lock.beat()  # not held: nothing to show
    assert lock.acquire()
    os.utime(path, (1, 1))
    lock.beat()
    assert time.time() - path.stat().st_mtime < 60
    os.unlink(path)
    path.write_text("of another process")
    os.utime(path, (1, 1))
    lock.beat()
    assert path.stat().st_mtime == 1, "it was taken over: the sign of life is the other's"
    lock.release()
    lock.beat()
    assert path.stat().st_mtime == 1


def test_bytes_whose_mode_cannot_be_changed_do_not_stay_in_the_cache_under_a_name(tmp_path, monkeypatch):
    def refused(descriptor, mode):
        raise PermissionError

    (tmp_path / "result").write_bytes(b"weights")
    (tmp_path / "cache").mkdir()
    folder = os.open(tmp_path / "cache", os.O_RDONLY)
    monkeypatch.setattr(os, "fchmod", refused)
    with open(tmp_path / "result", "rb") as source:
        assert cache_objects._link_in(tmp_path / "result", source.fileno(), "c" * 64, folder) is False
    os.close(folder)
    assert list((tmp_path / "cache").iterdir()) == []
    assert (tmp_path / "result").read_bytes() == b"weights"


@pytest.mark.parametrize(("cuda", "hip", "built"), [(None, None, True), ("13.0", None, False), (None, "6.4", False)])
def test_torch_is_built_for_cpus_where_it_has_neither_cuda_nor_hip(cuda, hip, built, monkeypatch):
    import torch

    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert ("built for CPUs" in gpus._reason()) is built
