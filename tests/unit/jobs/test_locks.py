"""Locks: one holder at a time, gone with its process, open to every user, and never in the way of work."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from distillery.jobs.locks import FileLock, hold_for_life, waiting_lock

LIBRARY = Path(__file__).parents[3] / "workflow"
HOLD = """
import os, sys
from pathlib import Path
from distillery.jobs.locks import hold_for_life
os.setuid(int(sys.argv[2]))
print(hold_for_life(Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


def holder_process(path: Path, user: int | None = None) -> subprocess.Popen:
    """Another process that tries to hold a lock for its life; its first line is what `hold_for_life` returned."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, path, str(os.getuid() if user is None else user)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PYTHONPATH": str(LIBRARY)},
    )


def test_a_lock_has_one_holder_who_is_named_and_dies_with_it(tmp_path):
    path = tmp_path / "folder" / "lock"
    with holder_process(path) as other:
        assert other.stdout.readline() == "None\n"
        assert f"process {other.pid} on " in hold_for_life(path)
        assert not FileLock(path).acquire()
        other.kill()
        other.wait()
        assert FileLock(path).acquire()


def test_who_waits_is_told_for_whom_and_that_it_waited(tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "lock"
    first = FileLock(path)
    assert first.acquire()
    found = []

    def second() -> None:
        with waiting_lock(path, "this job") as waited:
            found.append(waited)

    waiting = threading.Thread(target=second)
    waiting.start()
    while "this job is under way elsewhere" not in caplog.text:
        assert waiting.is_alive()
    first.release()
    waiting.join(timeout=10)
    assert found == [True] and f"process {os.getpid()}" in caplog.text
    with waiting_lock(path, "this job") as waited:
        assert not waited


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_lock_file_of_another_user_can_be_used():
    shared = Path(os.path.realpath("/tmp")) / f"distillery-test-{os.getpid()}"
    shared.mkdir()
    shared.chmod(0o1777)  # like /tmp itself
    path = shared / "lock"
    try:
        mask = os.umask(0o077)
        mine = FileLock(path)
        assert mine.acquire()
        os.umask(mask)
        with holder_process(path, user=65534) as other:
            assert f"process {os.getpid()}" in other.stdout.readline()
            other.stdin.close()
        mine.release()
        with holder_process(path, user=65534) as other:
            assert other.stdout.readline() == "None\n"
            assert not FileLock(path).acquire()
            other.stdin.close()
    finally:
        path.unlink()
        shared.rmdir()


def test_the_next_place_is_used_where_the_first_cannot_be(tmp_path):
    (tmp_path / "file").write_text("in the way")
    places = (tmp_path / "file" / "lock", tmp_path / "second" / "lock")
    first = FileLock(*places)
    assert first.acquire() and not FileLock(*places).acquire() and not FileLock(places[1]).acquire()


def test_without_any_place_or_any_locks_work_continues_and_the_log_says_so(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    assert FileLock(tmp_path / "file" / "lock").acquire()
    assert "no lock can be had" in caplog.text

    def none_here(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none_here)
    assert FileLock(tmp_path / "lock").acquire() and FileLock(tmp_path / "lock").acquire()
    assert "this file system has no locks" in caplog.text


def test_a_link_in_the_place_of_a_lock_file_is_not_followed(tmp_path):
    """In a folder that everybody may write to, a link could point anywhere."""
    (tmp_path / "precious").write_text("text")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    FileLock(tmp_path / "lock").acquire()
    assert (tmp_path / "precious").read_text() == "text"
