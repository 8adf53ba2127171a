"""Temporary copies: what a killed process leaves is removed by a later one, and never what a living one writes."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from distillery import temporary
from distillery.files import atomic_open
from distillery.jobs.runner import run
from distillery.models.sources import new_folder
from distillery.temporary import remove_abandoned, remove_all_abandoned, replacement_folder

pytestmark = pytest.mark.reliability("machine")

WRITERS = {
    "file": "with atomic_open(Path('made')) as out: out.write('half'); out.flush(); wait()",
    "folder": "with replacement_folder(Path('made')) as folder: (folder / 'in').mkdir(); wait()",
    "model": "with new_folder(Path('made')) as folder: (folder / 'x').write_text('half'); wait()",
    "store": "store.put_unit('.', one_row, 1)",
    "cache": "ArtifactCache(Path('cache')).store('0' * 32, 'stage', {'result': Path('in.txt')}, {})",
}
PROGRAM = """
import os, sys, time
from pathlib import Path

def wait(*_):
    print("writing", flush=True)
    time.sleep(60)

from distillery.files import atomic_open
from distillery.temporary import replacement_folder
if {name!r} == "model":
    from distillery.models.sources import new_folder
if {name!r} in ("store", "cache"):
    import pyarrow as pa
    from distillery.jobs.cache import ArtifactCache
    from distillery.sampling.store import SCHEMA, CompletionStore
    store, one_row = CompletionStore("."), pa.table({{field.name: pa.nulls(1, field.type) for field in SCHEMA}})
    os.fsync = wait
{line}
"""


def writer(name: str, folder: Path) -> subprocess.Popen:
    """A process that is in the middle of writing into a folder."""
    code = PROGRAM.format(name=name, line=WRITERS[name])
    process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    return process


def four(number: Path, result: Path, factor: int) -> None:
    result.parent.mkdir(exist_ok=True)
    result.write_text("4")


def left(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_stays(tmp_path, name):
    (tmp_path / "in.txt").write_text("2")
    process = writer(name, tmp_path)
    try:
        (copy,) = left(tmp_path)
        assert remove_all_abandoned(tmp_path) == 0 and copy.exists(), "its owner lives"
        os.utime(copy, (0, 0))
        assert remove_all_abandoned(tmp_path) == 0 and copy.exists(), "its owner takes its time"
        process.send_signal(signal.SIGSTOP)
        assert remove_all_abandoned(tmp_path) == 0 and copy.exists(), "its owner is stopped, not dead"
    finally:
        process.kill()
        process.wait()
    assert left(tmp_path) == [copy]
    assert remove_all_abandoned(tmp_path) == 1
    assert left(tmp_path) == []


def killed_copies(folder: Path) -> None:
    """Leave a half-written file and folder behind, as killed processes do."""
    processes = [writer(name, folder) for name in ("file", "folder")]
    for process in processes:
        process.kill()
        process.wait()


def test_the_next_write_into_a_folder_removes_them(tmp_path):
    killed_copies(tmp_path)
    assert len(left(tmp_path)) == 2
    temporary._swept.clear()
    with atomic_open(tmp_path / "other") as out:
        assert len(left(tmp_path)) == 1, "its own"
        out.write("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_the_next_run_of_a_job_removes_them(job):
    Path("out").mkdir()
    killed_copies(Path("out").absolute())
    temporary._swept.clear()
    run(job, four)
    assert sorted(path.name for path in Path("out").iterdir()) == ["provenance.json", "result.txt"]


def foreign(folder: Path, age: float, boot: str = "0badb007") -> Path:
    """A copy of another machine, or of an earlier boot of this one."""
    path = folder / f".made.{boot}-01234567.tmp"
    path.write_text("half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_copy_of_another_machine_is_left_alone_for_a_day(tmp_path):
    path = foreign(tmp_path, age=80_000)
    assert remove_abandoned(tmp_path) == 0 and path.exists(), "its lock may not be seen here"
    foreign(tmp_path, age=90_000)
    assert remove_abandoned(tmp_path) == 1 and not path.exists()


def test_a_folder_of_another_machine_is_as_young_as_the_youngest_file_in_it(tmp_path):
    path = tmp_path / ".made.0badb007-01234567.tmp"
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "weights").write_text("half")
    for old in (path, path / "deep"):
        os.utime(old, (0, 0))
    assert remove_abandoned(tmp_path) == 0
    os.utime(path / "deep" / "weights", (0, 0))
    assert remove_abandoned(tmp_path) == 1 and not path.exists()


def test_without_locks_a_copy_is_left_alone_for_a_day(tmp_path, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(temporary.fcntl, "flock", no_locks)
    with atomic_open(tmp_path / "made") as out:
        out.write("whole")
        assert remove_abandoned(tmp_path) == 0
    assert (tmp_path / "made").read_text() == "whole"
    foreign(tmp_path, age=80_000, boot=temporary._boot())
    assert remove_abandoned(tmp_path) == 0
    foreign(tmp_path, age=90_000, boot=temporary._boot())
    assert remove_abandoned(tmp_path) == 1


@pytest.mark.parametrize(
    "name", [".made.0badb007-01234567", "made.0badb007-01234567.tmp", ".hidden", ".x.tmp", "x.tmp"]
)
def test_other_files_of_the_user_stay(tmp_path, name):
    (tmp_path / name).write_text("mine")
    os.utime(tmp_path / name, (0, 0))
    assert remove_abandoned(tmp_path) == 0 and (tmp_path / name).exists()


def test_a_link_or_pipe_with_such_a_name_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".a.0badb007-01234567.tmp").symlink_to("mine")
    os.mkfifo(tmp_path / ".b.0badb007-01234567.tmp")
    assert remove_abandoned(tmp_path) == 0
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_name_that_is_as_long_as_names_may_be_can_be_written(tmp_path):
    for name in ("n" * 255, "\u00e9" * 127, "\U0001f600" * 63):
        with atomic_open(tmp_path / name) as out:
            out.write(name)
        assert (tmp_path / name).read_text() == name


@pytest.mark.reliability("machine", cases=200)
def test_no_process_loses_a_copy_to_one_that_removes(tmp_path):
    """One thread writes, the other removes what it takes for abandoned: every write ends with its file."""
    done = threading.Event()
    faults = []

    def sweep() -> None:
        while not done.is_set():
            faults.append(remove_abandoned(tmp_path))

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for number in range(100):
            with atomic_open(tmp_path / f"{number}") as out:
                out.write(str(number))
            with replacement_folder(tmp_path / f"folder-{number}") as made:
                (made / "x").write_text("x")
    finally:
        done.set()
        sweeper.join()
    assert len(list(tmp_path.glob("[0-9]*"))) == 100 and len(list(tmp_path.glob("folder-*/x"))) == 100
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("mask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o002, 0o664, 0o775)]
)
def test_files_and_folders_have_the_permissions_that_the_mask_leaves(tmp_path, mask, file, folder):
    before = os.umask(mask)
    try:
        with atomic_open(tmp_path / "file") as out:
            out.write("x")
        with new_folder(tmp_path / "model") as made:
            os.close(os.open(made / "private", os.O_CREAT, 0o600))
            (made / "deep").mkdir(mode=0o700)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"file": file, "model": folder, "private": file, "deep": folder}


def test_the_mask_of_the_process_is_never_set(tmp_path, monkeypatch, job):
    """Another thread that creates a file in between would get its permissions wrong."""
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the mask was set"))
    with atomic_open(tmp_path / "file") as out:
        out.write("x")
    with new_folder(tmp_path / "model") as made:
        (made / "x").write_text("x")
    for _ in range(2):
        run(job, four)
