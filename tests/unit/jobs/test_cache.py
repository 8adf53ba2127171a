"""The artifact cache: a hit is what was stored, whatever happened to the files that it was restored to."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from distillery.errors import UserError
from distillery.files import atomic_open, read_json, sha256_file
from distillery.jobs.cache import ArtifactCache
from distillery.jobs.job import Job
from distillery.jobs.runner import run

WEIGHTS = b"weights" * 1000


@pytest.fixture
def job(job):
    """The job of the other tests, with a folder of weights among its outputs."""
    return replace(job, outputs={"folder": Path("out/model"), **job.outputs})


class Maker:
    """A stage that makes a folder and a file, and counts how often it is really run."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, number: Path, folder: Path, result: Path, factor: int) -> None:
        self.runs += 1
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "weights.bin").write_bytes(WEIGHTS)
        with atomic_open(result) as out:
            out.write(str(factor * int(number.read_text())))


@pytest.fixture
def maker():
    return Maker()


def remove(job: Job) -> None:
    """As Snakemake does before a job starts."""
    for path in job.outputs.values():
        if path.is_dir():
            for inner in sorted(path.rglob("*"), reverse=True):
                inner.rmdir() if inner.is_dir() else inner.unlink()
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def made(job: Job) -> tuple[bytes, str]:
    return (job.outputs["folder"] / "deep" / "weights.bin").read_bytes(), job.outputs["result"].read_text()


def test_a_job_that_was_done_before_is_restored_and_not_run(job, maker):
    run(job, maker)
    remove(job)
    run(replace(job), maker)
    assert made(job) == (WEIGHTS, "4")
    assert maker.runs == 1
    record = read_json(job.outputs["provenance"])
    assert record["key"] == job.key and record["restored"]


def test_a_setting_changed_and_changed_back_is_restored(job, maker):
    run(job, maker)
    other = replace(job, params={**job.params, "factor": 3})
    remove(job)
    run(other, maker)
    assert made(job)[1] == "6"
    remove(job)
    run(replace(job), maker)
    assert made(job)[1] == "4" and maker.runs == 2


def test_other_checkouts_restore_what_one_has_computed(job, maker, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLERY_CACHE", str(tmp_path / "shared"))
    run(job, maker)
    other = tmp_path / "other"
    other.mkdir()
    (other / "in.txt").write_text("2")
    monkeypatch.chdir(other)
    run(replace(job), maker)
    assert made(job) == (WEIGHTS, "4") and maker.runs == 1


def test_weights_are_linked_and_read_only(job, maker):
    run(job, maker)
    remove(job)
    run(replace(job), maker)
    weights = job.outputs["folder"] / "deep" / "weights.bin"
    assert weights.stat().st_nlink >= 2
    assert weights.stat().st_mode & 0o222 == 0


@pytest.mark.parametrize("length", [len(WEIGHTS), 3], ids=["of equal length", "of another length"])
def test_a_restored_file_edited_in_place_is_never_served_again(job, maker, length, caplog):
    run(job, maker)
    weights = job.outputs["folder"] / "deep" / "weights.bin"
    weights.chmod(0o644)
    with open(weights, "r+b") as file:  # in place: through the link, these are the cache's own bytes
        file.write(b"x" * length)
        file.truncate(length)
    job.outputs["result"].write_text("edited")  # a copy: the cache is not touched
    remove(job)
    run(replace(job), maker)
    assert made(job) == (WEIGHTS, "4") and maker.runs == 2
    assert "were changed" in caplog.text
    remove(job)
    run(replace(job), maker)
    assert made(job) == (WEIGHTS, "4") and maker.runs == 2, "what was computed again is kept again"


def test_a_touched_weight_file_is_checked_and_served(job, maker):
    run(job, maker)
    os.utime(job.outputs["folder"] / "deep" / "weights.bin")
    remove(job)
    run(replace(job), maker)
    assert made(job) == (WEIGHTS, "4") and maker.runs == 1


@pytest.mark.reliability("shared-cache")
@pytest.mark.parametrize("damage", ["truncated entry", "missing object", "changed object"])
def test_a_damaged_cache_costs_a_run_and_nothing_else(job, maker, damage):
    run(job, maker)
    cache = ArtifactCache.from_environment()
    entry = cache.find(job.key)
    target = cache.object_path(entry.outputs["result"].files[""].sha256)
    if damage == "truncated entry":
        path = cache.entry_path(job.key)
        path.write_text(path.read_text()[:50])
    elif damage == "missing object":
        target.unlink()
    else:
        target.chmod(0o644)
        target.write_text("5")
    remove(job)
    run(replace(job), maker)
    assert made(job) == (WEIGHTS, "4") and maker.runs == 2


def flip_a_bit(path: Path) -> None:
    """As a failing disk does: size, times of the bytes and permissions stay."""
    before = path.stat()
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.seek(1000)
        bit = file.read(1)[0] ^ 4
        file.seek(1000)
        file.write(bytes([bit]))
    path.chmod(before.st_mode & 0o777)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def stored_weights() -> Path:
    (path,) = Path("work/cache/v1/objects").rglob(hashlib.sha256(WEIGHTS).hexdigest())
    return path


@pytest.mark.reliability("shared-cache")
@pytest.mark.parametrize("check", [None, "always", "once"])
def test_a_flipped_bit_in_cached_weights_is_noticed_before_their_first_use(job, maker, check, monkeypatch, caplog):
    monkeypatch.setenv("DISTILLERY_CACHE_CHECK", check) if check else None
    run(job, maker)
    flip_a_bit(stored_weights())
    remove(job)
    run(replace(job), maker)
    assert made(job) == (WEIGHTS, "4") and maker.runs == 2
    assert "were changed" in caplog.text


@pytest.mark.reliability("shared-cache")
@pytest.mark.parametrize(("check", "runs"), [("always", 2), ("once", 1), ("never", 1)])
def test_when_bits_that_flip_between_two_uses_are_noticed_is_a_setting(job, maker, check, runs, monkeypatch):
    monkeypatch.setenv("DISTILLERY_CACHE_CHECK", check)
    for flipped in (False, True):
        run(replace(job), maker)
        remove(job)
        flip_a_bit(stored_weights()) if flipped else run(replace(job), maker)
        remove(job)
    run(replace(job), maker)
    assert maker.runs == runs and (made(job)[0] == WEIGHTS) == (runs == 2)


def test_a_check_that_was_noted_does_not_stand_for_one_at_each_use(job, maker, monkeypatch):
    monkeypatch.setenv("DISTILLERY_CACHE_CHECK", "once")
    for _ in range(2):
        run(replace(job), maker)
        remove(job)
    flip_a_bit(stored_weights())
    monkeypatch.setenv("DISTILLERY_CACHE_CHECK", "always")
    run(replace(job), maker)
    assert made(job) == (WEIGHTS, "4") and maker.runs == 2


@pytest.mark.parametrize("check", ["once", "never"])
def test_bytes_with_another_time_are_read_whatever_the_setting(job, maker, check, monkeypatch):
    monkeypatch.setenv("DISTILLERY_CACHE_CHECK", check)
    for _ in range(2):
        run(replace(job), maker)
        remove(job)
    flip_a_bit(stored_weights())
    os.utime(stored_weights())
    run(replace(job), maker)
    assert made(job) == (WEIGHTS, "4") and maker.runs == 2


def test_a_check_that_is_none_is_refused(job, maker, monkeypatch):
    monkeypatch.setenv("DISTILLERY_CACHE_CHECK", "sometimes")
    with pytest.raises(UserError, match="always, once, never"):
        run(job, maker)
    assert maker.runs == 0


def test_a_note_about_a_check_is_kept_outside_the_cache(job, maker, monkeypatch, tmp_path):
    """Others may write into a shared cache: they could pretend that a check was made."""
    monkeypatch.setenv("DISTILLERY_CACHE_CHECK", "once")
    monkeypatch.setenv("DISTILLERY_CACHE", str(tmp_path / "shared"))
    run(job, maker)
    before = set((tmp_path / "shared").rglob("*"))
    remove(job)
    run(replace(job), maker)
    assert set((tmp_path / "shared").rglob("*")) == before and list(Path("work").rglob("checked/*"))


def test_a_failed_job_leaves_no_entry(job):
    def failing(number: Path, folder: Path, result: Path, factor: int) -> None:
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_text("half")
        raise UserError("no")

    with pytest.raises(UserError):
        run(job, failing)
    assert ArtifactCache.from_environment().find(job.key) is None


def test_a_cache_switched_off_keeps_nothing(job, maker, monkeypatch):
    monkeypatch.setenv("DISTILLERY_CACHE", "off")
    run(job, maker)
    remove(job)
    run(replace(job), maker)
    assert maker.runs == 2 and not Path("work/cache").exists()


def test_a_cache_that_cannot_be_written_fails_no_job(job, maker, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DISTILLERY_CACHE", str(tmp_path / "file"))
    run(job, maker)
    assert made(job) == (WEIGHTS, "4")


def test_unused_objects_are_removed_and_used_ones_stay(job, maker):
    run(job, maker)
    run(replace(job, params={**job.params, "factor": 5}), maker) if remove(job) is None else None
    cache = ArtifactCache.from_environment()
    assert cache.remove_unused_objects(grace_seconds=0) == (0, 0)
    cache.entry_path(job.key).unlink()
    assert cache.remove_unused_objects(grace_seconds=3600) == (0, 0), "a young object may be waiting for its entry"
    assert cache.remove_unused_objects(grace_seconds=0) == (1, 1), "the weights are named by the other entry too"


def test_bytes_of_equal_content_are_kept_once(job, maker):
    run(job, maker)
    remove(job)
    run(replace(job, params={**job.params, "factor": 5}), maker)
    kept = [path.name for path in Path("work/cache/v1/objects").rglob("*") if path.is_file()]
    assert sorted(kept).count(sha256_file(job.outputs["folder"] / "deep" / "weights.bin")) == 1
    assert len(kept) == 3


def test_two_processes_with_one_job_compute_it_once(job, tmp_path):
    """The second waits for the first and restores its result."""
    import subprocess
    import sys

    program = """
import sys, time
from dataclasses import replace
from pathlib import Path
from distillery.jobs.job import Job
from distillery.jobs.runner import run

def slow(number, result):
    Path("runs.txt").open("a").write("run\\n")
    time.sleep(1.0)
    result.write_text(number.read_text())

run(Job("slow", {"number": Path("in.txt")}, {"result": Path(sys.argv[1])}, {}), slow)
"""
    (tmp_path / "program.py").write_text(program)
    jobs = [subprocess.Popen([sys.executable, "program.py", f"{n}.txt"], cwd=tmp_path) for n in range(3)]
    assert [process.wait(60) for process in jobs] == [0, 0, 0]
    assert [(tmp_path / f"{n}.txt").read_text() for n in range(3)] == ["2"] * 3
    assert (tmp_path / "runs.txt").read_text() == "run\n"


def test_an_entry_is_plain_json(job, maker):
    run(job, maker)
    entry = json.loads(ArtifactCache.from_environment().entry_path(job.key).read_text())
    assert entry["record"]["params"]["factor"] == 2
