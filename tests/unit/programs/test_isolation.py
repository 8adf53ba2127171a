"""The wall around a program, as it is asked for: every option of bwrap and every limit, written out."""

import json
import os
import resource
import subprocess
import sys
import time

import pytest

from distillery.programs import isolation, worker_process
from distillery.programs.execution import MAX_RECORD
from distillery.programs.isolation import (
    bwrap_command,
    bwrap_programs,
    system_call_filter,
    worker_command,
    worker_settings,
)
from distillery.programs.worker import HEAD
from distillery.programs.worker_process import Worker

MB = 2**20


def test_bwrap_is_given_namespaces_nothing_to_write_and_no_privilege(monkeypatch):
    kinds = {"/lib": "link", "/bin": "link", "/lib64": "folder"}
    monkeypatch.setattr(isolation.os.path, "islink", lambda name: kinds.get(name) == "link")
    monkeypatch.setattr(isolation.os.path, "isdir", lambda name: kinds.get(name) == "folder")
    monkeypatch.setattr(isolation.os, "readlink", lambda name: f"usr{name}")
    monkeypatch.setattr(isolation.os.path, "realpath", lambda name: name)
    monkeypatch.setattr(isolation.sys, "base_prefix", "/opt/python")
    monkeypatch.setattr(isolation.sys, "base_exec_prefix", "/usr/python")
    monkeypatch.setattr(isolation, "ENVIRONMENT", {"A": "1", "B": "2"})
    monkeypatch.setattr(isolation, "worker_command", lambda: ["python", "worker"])
    options = """
        --unshare-all --unshare-user --disable-userns --die-with-parent --new-session --cap-drop ALL --clearenv
        --uid 65534 --gid 65534 --hostname sandbox --setenv A 1 --setenv B 2 --ro-bind /usr /usr
        --symlink usr/lib /lib --ro-bind /lib64 /lib64 --symlink usr/bin /bin
        --ro-bind-try /etc/ld.so.cache /etc/ld.so.cache --ro-bind /opt/python /opt/python
        --proc /proc --dev /dev --size 1048576 --tmpfs /tmp --chdir / --remount-ro / --seccomp 7 -- python worker
    """
    assert bwrap_command("/usr/bin/bwrap", 7) == ["/usr/bin/bwrap", *options.split()]


@pytest.mark.parametrize("profile", ["bwrap", "seccomp", "unsafe"])
def test_the_worker_is_given_every_limit_and_a_filter_unless_it_is_unsafe(profile):
    found = json.loads(worker_settings(profile, cpu_seconds=3, memory_mb=256, most=99))
    limits = [
        [resource.RLIMIT_CPU, 3, 4], [resource.RLIMIT_AS, 256 * MB, 256 * MB], [resource.RLIMIT_FSIZE, 0, 0],
        [resource.RLIMIT_NOFILE, 16, 16], [resource.RLIMIT_CORE, 0, 0], [resource.RLIMIT_STACK, 16 * MB, 16 * MB],
    ]  # fmt: skip
    safe = profile != "unsafe"
    assert found == {
        "limits": limits + [[resource.RLIMIT_NPROC, 0, 0]] * safe,
        "filter": system_call_filter("program").hex() if safe else "", "most": 99, "drop_root": profile == "seccomp",
    }  # fmt: skip
    assert len(found["filter"]) > 100 or not safe


def test_the_worker_is_its_own_text_in_an_interpreter_without_site_packages():
    python, *options, text = worker_command()
    assert python == os.path.realpath(sys.executable)
    assert options == ["-s", "-P", "-S", "-c"] and text == isolation.WORKER.read_text(encoding="utf-8")


def test_the_systems_bwrap_is_tried_before_the_packages(monkeypatch):
    monkeypatch.setattr(isolation.shutil, "which", lambda name: None)
    packaged = bwrap_programs()
    monkeypatch.setattr(isolation.shutil, "which", lambda name: f"/some/{name}")
    assert bwrap_programs() == ["/some/bwrap", *packaged]
    assert [os.path.basename(path) for path in packaged] == ["bwrap"] * len(packaged)


# What a worker says


class Heard(Worker):
    """A worker that is a pipe: what is written into it is what the worker said."""

    def __init__(self) -> None:
        super().__init__("seccomp", b"", None)
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def fileno(self) -> int:
        return self.reader

    def say(self, *parts: bytes) -> bytes | None:
        for part in parts:
            os.write(self.writer, part)
        return self.receive()


def frame(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


MOST = MAX_RECORD + HEAD.size


def test_a_frame_is_read_when_all_of_it_has_arrived():
    worker = Heard()
    assert worker.say() is None
    assert worker.say(b"\0\0\0") is None
    assert worker.say(b"\2a") is None
    assert worker.say(b"b") == b"ab"
    assert worker.say(frame(b"")) == b""
    assert worker.say(frame(b"next")) == b"next"
    os.write(worker.writer, frame(b"waited"))
    assert worker.wait(time.monotonic() + 60) == b"waited"
    with pytest.raises(ValueError, match="no answer in time"):
        worker.wait(time.monotonic())


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ([frame(b"a") + b"b"], "the worker answered twice"),
        ([(MOST + 1).to_bytes(4, "big")], "the worker announced too much"),
        ([MOST.to_bytes(4, "big"), b"a" * 60_000], None),
    ],
)
def test_a_worker_that_says_more_than_one_frame_is_at_fault(said, fault):
    worker = Heard()
    if fault is None:
        assert worker.say(*said) is None
    else:
        with pytest.raises(ValueError, match=fault):
            worker.say(*said)


def test_a_worker_that_sends_without_end_or_ends_is_at_fault():
    worker = Heard()
    size = MAX_RECORD + 1024
    worker._received += b"\0" * (size - 4)
    worker._received[:4] = (MOST).to_bytes(4, "big")
    with pytest.raises(ValueError, match="the worker answered twice"):
        worker.say(b"aaaa")
    with pytest.raises(ValueError, match="the worker sent too much"):
        worker.say(b"a")
    worker = Heard()
    os.close(worker.writer)
    with pytest.raises(EOFError, match="the worker ended"):
        worker.receive()


def test_a_worker_starts_in_bwrap_with_its_filter_or_alone_with_a_bare_environment(monkeypatch, tmp_path):
    started = []

    def popen(command, **given):
        (filter_fd,) = given.get("pass_fds", (None,))
        started.append((command, given, None if filter_fd is None else os.read(filter_fd, 1_000_000)))

    monkeypatch.setattr(worker_process.subprocess, "Popen", popen)
    with open(tmp_path / "errors", "wb") as errors:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors, "bufsize": 0}
        Worker("bwrap", b"", "/some/bwrap")._spawn(errors)
        Worker("seccomp", b"", None)._spawn(errors)
    (inside, given, sent), (alone, bare, _) = started
    assert inside == bwrap_command("/some/bwrap", given["pass_fds"][0])
    assert given == {**pipes, "env": {}, "cwd": "/", "pass_fds": given["pass_fds"]}
    assert sent == system_call_filter("worker") != system_call_filter("program")
    assert (alone, bare) == (
        worker_command(), {**pipes, "env": isolation.ENVIRONMENT, "cwd": "/", "start_new_session": True},
    )  # fmt: skip
