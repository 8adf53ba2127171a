"""A stopped process keeps its locks: who waits gets a message and takes over in time, and the former holder notices."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from distillery.errors import UserError
from distillery.jobs import locks
from distillery.jobs.locks import FileLock, Watch, check_locks, hold_for_life, is_held, takeover_seconds, waiting_lock

pytestmark = pytest.mark.reliability("machine")

LIBRARY = Path(__file__).parents[3] / "workflow"
HOLD = """
import sys
from pathlib import Path
from distillery.errors import UserError
from distillery.jobs.locks import check_locks, waiting_lock
with waiting_lock(Path(sys.argv[1]), "this job"):
    print("held", flush=True)
    sys.stdin.readline()
    try:
        check_locks()
        print("still mine", flush=True)
    except UserError as error:
        print(error, flush=True)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock `tmp_path/lock`. A line on its input makes it check its locks."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(LIBRARY)},
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def checks(process: subprocess.Popen) -> str:
    """Continue a process; what it says after it has checked its locks."""
    process.send_signal(signal.SIGCONT)
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline()


def test_a_lock_of_a_stopped_process_is_reported_once_and_taken_over(holder, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setenv("DISTILLERY_LOCK_TAKEOVER", "0.5")
    stop(holder)
    with waiting_lock(tmp_path / "lock", "this job") as waited:
        assert waited and not FileLock(tmp_path / "lock").acquire()
        check_locks()
        assert "another process took over its lock" in checks(holder)
        check_locks()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3, "it waits, for a process that is stopped, and takes over"
    assert all(f"process {holder.pid} on {os.uname().nodename} (-c {tmp_path}/lock), since 20" in line for line in said)
    assert f"kill -CONT {holder.pid}" in said[1] and "after 0.5 s" in said[1]
    assert FileLock(tmp_path / "lock").acquire(), "the former holder's end takes nothing from the next"


def test_without_the_setting_a_stopped_process_keeps_its_lock(holder, tmp_path, caplog):
    stop(holder)
    watch = Watch(tmp_path / "lock", "this job")
    start = time.monotonic()
    while time.monotonic() - start < 0.3:
        assert not watch.look()
    assert "to take its lock over after some seconds, set DISTILLERY_LOCK_TAKEOVER" in caplog.text
    assert caplog.text.count("is stopped") == 2  # said, and in the words for the process
    assert is_held(tmp_path / "lock") and checks(holder) == "still mine\n"


def test_a_process_that_runs_keeps_its_lock_however_long_it_takes(holder, tmp_path, clock):
    watch = Watch(tmp_path / "lock", "this job", takeover=10)
    for _ in range(100):
        clock.now += 4
        os.utime(tmp_path / "lock", ns=(0, int(clock.now * 1e9)))  # its sign of life
        assert not watch.look()


def test_a_life_long_lock_is_reported_as_stopped_and_not_taken_over(holder, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLERY_LOCK_TAKEOVER", "0.001")
    stop(holder)
    assert "it is stopped" in hold_for_life(tmp_path / "lock")
    assert checks(holder) == "still mine\n"


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    sleep = staticmethod(time.sleep)


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(locks, "time", made)
    return made


@pytest.fixture
def elsewhere(tmp_path):
    """A lock whose holder is on another machine; its signs of life alone say whether it lives."""
    lock = FileLock(tmp_path / "lock")
    assert lock.acquire()
    path = tmp_path / "lock"
    path.write_text(path.read_text().replace(os.uname().nodename, "elsewhere"))
    yield lock
    lock.release()


def test_a_holder_on_another_machine_is_silent_after_missed_signs_of_life(elsewhere, tmp_path, clock, caplog):
    watch = Watch(tmp_path / "lock", "this job", takeover=100)
    assert not watch.look()
    clock.now += 99
    assert not watch.look() and "shows no sign of life" in caplog.text
    elsewhere.beat()
    assert not watch.look()
    clock.now += 99
    assert not watch.look()
    clock.now += 2
    assert watch.look()


def test_a_late_sign_of_life_is_forgiven(elsewhere, tmp_path, clock):
    watch = Watch(tmp_path / "lock", "this job", takeover=0.001)
    assert not watch.look()
    clock.now += 2.9 * locks.lock_signs.BEAT_SECONDS
    assert not watch.look()


def test_a_lock_of_a_version_without_signs_of_life_is_not_silent(elsewhere, tmp_path, clock):
    path = tmp_path / "lock"
    path.write_text('{"process": 1, "host": "elsewhere", "since": "yesterday"}')
    watch = Watch(path, "this job", takeover=1)
    watch.look()
    clock.now += 1e6
    assert not watch.look()


def test_of_many_that_take_over_one_gets_the_lock(elsewhere, tmp_path):
    watch = Watch(tmp_path / "lock", "this job")
    watch.look()
    waiting, begin = [FileLock(tmp_path / "lock") for _ in range(8)], threading.Barrier(8)
    won = []

    def take(lock: FileLock) -> None:
        begin.wait()
        for _ in range(20):
            if lock.take_over(watch.file):
                won.append(lock)
                return

    threads = [threading.Thread(target=take, args=(lock,)) for lock in waiting]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and not won[0].lost and elsewhere.lost
    with pytest.raises(UserError, match="publishes nothing"):
        check_locks()
    elsewhere.release()
    assert not FileLock(tmp_path / "lock").acquire(), "the former holder's file was another"
    won[0].release()


@pytest.mark.parametrize(
    "sign",
    ["", "[1]", "null", "{" * 9999, '{"process": "1; reboot", "host": "h", "since": "s"}', '{"process": 1}',
     '{"process": 1, "host": "\\u001b[2Jh", "since": "s", "beat": 5}', '{"process": 1, "host": "h", "beat": "x"}'],
)  # fmt: skip
def test_a_lock_file_with_anything_in_it_harms_nobody(elsewhere, tmp_path, sign):
    (tmp_path / "lock").write_text(sign)
    assert not Watch(tmp_path / "lock", "this job").look()
    assert "\x1b" not in elsewhere.holder() and "reboot" not in elsewhere.holder()


@pytest.mark.parametrize("given", ["0", "-1", "soon", "nan"])
def test_a_time_that_is_none_is_refused(monkeypatch, given):
    monkeypatch.setenv("DISTILLERY_LOCK_TAKEOVER", given)
    with pytest.raises(UserError, match="DISTILLERY_LOCK_TAKEOVER"):
        takeover_seconds()


def test_a_process_shows_signs_of_life_while_it_holds_a_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(locks.lock_signs, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(locks, "_beating", 0)  # another thread, with this pace
    lock = FileLock(tmp_path / "lock")
    assert lock.acquire()
    os.utime(tmp_path / "lock", (0, 0))
    while os.stat(tmp_path / "lock").st_mtime == 0:
        time.sleep(0.001)
    lock.release()
