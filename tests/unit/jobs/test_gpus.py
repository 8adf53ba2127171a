"""GPUs: each job holds its own, of whatever user; what a scheduler decided is respected; none becomes a CPU in silence.

The driver's library is a fake, compiled from fake_nvml.c, that describes a machine; NVIDIA's binding to it is the real
one. Jobs are processes.
"""

import ctypes
import errno
import fcntl
import json
import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pynvml
import pytest

from distillery.errors import UserError
from distillery.jobs import gpus, nvml
from distillery.jobs.gpus import claimed_gpus, torch_device, usable_gpus
from distillery.jobs.job import Job
from distillery.jobs.runner import run

pytestmark = [
    pytest.mark.reliability("machine"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="compiles a library"),
]

GIB = 2**30
LIBRARY_MISSING, DRIVER_NOT_LOADED, NO_PERMISSION, LOST, MISMATCH = 12, 9, 4, 15, 18


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The fake library, under the name of the driver's."""
    made = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("fake_nvml.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o", made, source], check=True)
    return made


@pytest.fixture
def machine(library, monkeypatch, tmp_path):
    """A function that describes the machine: one line for each GPU and instance, as fake_nvml.c reads them."""
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(library)))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    for name, folder in {"DEVICES": "dev", "PCI": "pci", "WSL_FOLDER": "wsl"}.items():
        (tmp_path / folder).mkdir()
        monkeypatch.setattr(nvml, name, tmp_path / folder)
    for variable in (gpus.VISIBLE, gpus.DEVICE, gpus.CLAIMED, "FAKE_NVML"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(gpus, "POLL_SECONDS", 0.01)
    with tempfile.NamedTemporaryFile("w", suffix=".nvml") as file:  # not in tmp_path, which other users may not read
        os.chmod(file.name, 0o644)

        def describe(*lines: str) -> None:
            Path(file.name).write_text("".join(f"{line}\n" for line in lines))
            monkeypatch.setenv("FAKE_NVML", file.name)

        yield describe


def name(kind="GPU", start=""):
    """A UUID that no other test claims: claims are of the whole machine."""
    return f"{kind}-{start}{str(uuid.uuid4())[len(start) :]}"


def gpu(uuid, *, code=0, split=0, used=0, total=80 * GIB):
    return f"gpu {uuid} {code} {split} {used} {total}"


class AnotherJob:
    """A process that claims GPUs, says what it logs and what it got, and holds them until it or the tests end."""

    def __init__(self, wanted=1, user=None, worker=False):
        self.events, to = os.pipe()
        tests_end, while_tests_run = os.pipe()  # kept open: it tells jobs and their workers that the tests ended
        self.process = os.fork()
        if self.process:
            os.close(to)
            os.close(tests_end)
            return
        try:  # the job
            os.close(self.events)
            os.close(while_tests_run)
            if user is not None:
                os.setgroups([])
                os.setuid(user)

            def say(kind, value):
                os.write(to, json.dumps([kind, value]).encode() + b"\n")

            handler = logging.Handler()
            handler.emit = lambda record: say("log", record.getMessage())
            logging.getLogger().handlers = [handler]
            logging.getLogger("distillery").setLevel(logging.INFO)
            with claimed_gpus(wanted) as claimed:
                worker_process = os.fork() if worker else None
                if worker_process != 0:
                    say("claimed", [claimed, os.environ["CUDA_VISIBLE_DEVICES"], worker_process])
                os.read(tests_end, 1)
        except BaseException as error:
            say("error", repr(error))
        finally:
            os._exit(0)

    def event(self):
        """What the job says next: the kind, and the words."""
        line = b""
        while not line.endswith(b"\n"):
            assert select.select([self.events], [], [], 20)[0], "the job says nothing"
            letter = os.read(self.events, 1)
            assert letter, "the job has ended"
            line += letter
        kind, value = json.loads(line)
        assert kind != "error", value
        return kind, value

    def next(self, wanted):
        """The next that it says of this kind."""
        while True:
            kind, value = self.event()
            if kind == wanted:
                return value

    def claimed(self):
        return self.next("claimed")[0]

    def end(self):
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.events)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def claim(wanted=1):
    with claimed_gpus(wanted) as claimed:
        return claimed


# Claims


def test_two_jobs_get_different_gpus_by_uuid_and_a_third_waits_until_a_job_ends(machine):
    names = [name(), name()]
    machine(*map(gpu, names))
    with AnotherJob() as second:
        first = AnotherJob()
        taken = [first.next("claimed"), second.next("claimed")]
        assert sorted(claimed for claimed, _, _ in taken) == sorted([held] for held in names)
        assert all([shown] == claimed for claimed, shown, _ in taken)
        with AnotherJob() as third:
            assert f"process {second.process}" in third.next("log")
            first.end()  # killed: nothing is left for a person to clear
            assert third.claimed() == taken[0][0]


@pytest.mark.skipif(os.getuid() != 0, reason="becomes two users")
@pytest.mark.parametrize("fault", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EACCES])
def test_two_users_share_a_workstation_without_a_folder_or_a_file_lock(machine, monkeypatch, tmp_path, fault):
    def no_locks(*_arguments):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(fcntl, "lockf", no_locks)
    for variable in ("TMPDIR", "HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))  # of root, with mode 0700
    monkeypatch.setattr(tempfile, "tempdir", None)
    names = [name(), name()]
    machine(*map(gpu, names))
    with AnotherJob(user=65533) as first, AnotherJob(user=65534) as second:
        assert sorted(first.claimed() + second.claimed()) == sorted(names)
        with AnotherJob(user=12345) as third:
            waits = third.next("log")
            assert f"process {first.process} of user 65533" in waits
            assert f"process {second.process} of user nobody" in waits


def test_a_gpu_is_held_as_long_as_a_worker_of_its_job_lives(machine):
    machine(gpu(name()))
    job = AnotherJob(worker=True)
    _, _, worker = job.next("claimed")
    job.end()
    try:
        with AnotherJob() as waiting:
            assert f"process {job.process} started and left behind" in waiting.next("log")
            os.kill(worker, signal.SIGKILL)
            assert waiting.claimed()
    finally:
        os.kill(worker, signal.SIGKILL) if Path(f"/proc/{worker}").exists() else None


def test_who_waits_for_a_stopped_process_reads_that_it_is_stopped(machine):
    machine(gpu(name()))
    with AnotherJob() as stopped:
        stopped.claimed()
        os.kill(stopped.process, signal.SIGSTOP)
        os.waitpid(stopped.process, os.WUNTRACED)
        with AnotherJob() as waiting:
            assert f"process {stopped.process}, which is stopped (kill -CONT" in waiting.next("log")


def test_jobs_that_want_all_gpus_get_them_one_after_another(machine):
    names = sorted([name(), name(), name()])
    machine(*map(gpu, names))
    jobs = [AnotherJob(wanted=3) for _ in range(3)]
    while jobs:
        ready, _, _ = select.select([job.events for job in jobs], [], [], 20)
        assert ready
        for job in [job for job in jobs if job.events in ready]:
            if (event := job.event())[0] == "claimed":
                assert sorted(event[1][0]) == names
                job.end()
                jobs.remove(job)


def test_processes_that_a_job_starts_see_its_gpu_and_do_not_wait_for_it(machine):
    held = name()
    machine(gpu(held), gpu(name()))
    script = (
        "import sys; from distillery.jobs.gpus import claimed_gpus\nwith claimed_gpus(1) as claimed: print(*claimed)"
    )
    with claimed_gpus(1) as claimed:
        assert claimed == [held] == [os.environ["CUDA_VISIBLE_DEVICES"]]
        child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
        assert child.stdout.split() == claimed
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_job_whose_model_is_an_endpoint_takes_no_gpu(machine, monkeypatch, tmp_path):
    monkeypatch.setenv("DISTILLERY_CACHE", "off")
    machine(gpu(name()))
    shown = {}
    for architecture in ("api", "causal"):
        manifest = tmp_path / f"{architecture}.json"
        manifest.write_text(json.dumps({"architecture": architecture}))

        def main(manifest, architecture=architecture):
            shown[architecture] = os.environ.get("CUDA_VISIBLE_DEVICES")

        run(Job("stage", {"manifest": manifest}, {}, {}, gpus=1), main)
    assert shown["api"] is None
    assert shown["causal"].startswith("GPU-")


def test_where_no_claim_can_be_made_the_job_runs_and_says_so(machine, monkeypatch, caplog):
    held = name()
    machine(gpu(held))

    def no_sockets(*_arguments):
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr("distillery.jobs.claims.Claim.take", no_sockets)
    assert claim() == [held]
    assert "another job may use" in caplog.text


# Which GPU


def test_the_emptiest_gpu_is_taken_and_a_busy_one_is_reported_with_its_memory(machine, caplog):
    full, empty = name(), name()
    machine(gpu(full, used=60 * GIB), gpu(empty, used=GIB))
    with AnotherJob() as first:
        assert first.claimed() == [empty]
        assert claim() == [full]
    assert f"{full} (NVIDIA Test 80GB): 60.0 of 80.0 GiB are in use by programs that are not jobs" in caplog.text


@pytest.fixture
def mixed(machine):
    """A machine with two GPUs whose UUIDs begin alike, one that is split in two, and one of another tenant."""
    found = {
        "a": name(start="1234aaaa"),
        "b": name(start="1234bbbb"),
        "split": name(),
        "m": name("MIG"),
        "n": name("MIG"),
    }
    machine(
        gpu(name(), code=NO_PERMISSION),
        gpu(found["a"]),
        gpu(found["split"], split=1),
        f"instance {found['m']} 1 0 0 {10 * GIB}",
        f"instance {found['n']} 5 3 0 {10 * GIB}",
        gpu(found["b"], total=0),
    )
    return found


USABLE = {
    "unset": (None, "amnb"),
    "empty": ("", ""),
    "minus one": ("-1", ""),
    "a number counts what may be used": ("2", "b"),
    "numbers": ("2,0", "ba"),
    "spaces": (" 0 , 2 ", "ab"),
    "up to the first negative": ("2,-1,0", "b"),
    "up to the first empty": ("2,,0", "b"),
    "a trailing comma": ("0,", "a"),
    "UUID": ("{b}", "b"),
    "UUIDs": ("{b},{a}", "ba"),
    "first letters": ("GPU-1234b,GPU-1234a", "ba"),
    "number and UUID": ("0,{b}", "ab"),
    "an instance": ("{n}", "n"),
    "first letters of an instance": ("{n:.12}", "n"),
    "former name of an instance": ("MIG-{split}/5/3", "n"),
    "a split GPU": ("{split}", "mn"),
    "number of a split GPU": ("1", "mn"),
}


@pytest.mark.parametrize(("value", "usable"), USABLE.values(), ids=USABLE)
def test_only_what_a_scheduler_made_visible_may_be_claimed(mixed, monkeypatch, value, usable):
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value.format(**mixed))
    assert [gpu.uuid for gpu in usable_gpus()] == [mixed[letter] for letter in usable]
    assert set(claim()) <= {mixed[letter] for letter in usable}
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == (None if value is None else value.format(**mixed))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("3", "no GPU '3'"),
        ("NoDevFiles", "no GPU 'NoDevFiles'"),
        ("0x1", "no GPU '0x1'"),
        ("9" * 5000, "no GPU '9999"),  # Python reads 4,300 digits
        ("\u0662", "no GPU"),  # a digit, but not of a number that CUDA reads
        ("GPU-ffff0000", "no GPU 'GPU-ffff0000'"),
        ("MIG-{a}/1/0", "no GPU 'MIG-"),
        ("0,7", "no GPU '7'"),
        ("GPU-1234", "'GPU-1234' may mean .* or "),
        ("MIG-", "'MIG-' may mean .* or "),
        ("0,0", "'0' is named twice"),
        ("0,{a}", "is named twice"),
    ],
)
def test_a_name_of_no_gpu_is_refused_where_cuda_would_hide_all_after_it(mixed, monkeypatch, value, problem):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value.format(**mixed))
    with pytest.raises(UserError, match=rf"CUDA_VISIBLE_DEVICES = .*{problem}.*0: {mixed['a']}.*DISTILLERY_DEVICE=cpu"):
        claim()


@pytest.mark.parametrize(("visible", "wanted", "may"), [(None, 3, 2), ("0", 2, 1), ("1", 2, 0)])
def test_a_job_that_needs_more_gpus_than_it_may_use_together_is_refused(mixed, monkeypatch, visible, wanted, may):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(UserError, match=rf"resources.gpu = {wanted}: this job needs {wanted} GPUs and may use {may} "):
        claim(wanted)


# Machines


FAULTS = {
    "driver and library differ": (["init 18"], [], "NVML/RM version mismatch"),
    "driver not loaded": (["init 9"], ["dev/nvidia0"], "Driver Not Loaded"),
    "driver not loaded, and no device files": (["init 9"], ["pci"], "Driver Not Loaded"),
    "permission": (["init 4"], [], "Insufficient Permissions"),
    "unknown": (["init 999"], [], "Unknown Error"),
    "no library": (["init 12"], ["dev/nvidia3"], "libnvidia-ml.so.1.*NVIDIA_DRIVER_CAPABILITIES=compute,utility"),
    "all lost": ([gpu("GPU-1", code=LOST)], [], "GPU 0: GPU is lost"),
    "none given to this job": ([gpu("GPU-1", code=NO_PERMISSION)], [], "GPU 0 is not given to this process"),
    "split without instances": ([gpu("GPU-1", split=1)], [], "GPU 0 is split and has no instance"),
}


@pytest.mark.parametrize(("lines", "files", "problem"), FAULTS.values(), ids=FAULTS)
def test_a_gpu_that_cannot_be_used_is_one_line_with_a_remedy_and_no_cpu(machine, tmp_path, lines, files, problem):
    for file in files:
        pci_display(tmp_path) if file == "pci" else (tmp_path / file).touch()
    machine(*lines)
    with pytest.raises(UserError, match=rf"{problem}.*DISTILLERY_DEVICE=cpu") as refused:
        claim()
    assert "\n" not in str(refused.value)


def pci_display(folder):
    device = folder / "pci" / "0000:01:00.0"
    device.mkdir()
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030200\n")


@pytest.fixture
def no_cuda(monkeypatch):
    """The tests run on machines with GPUs too."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("lines", [["init 9"], ["init 12"], []], ids=["login node", "no driver", "no GPU"])
@pytest.mark.usefixtures("no_cuda")
def test_a_machine_without_a_gpu_computes_on_the_cpu_and_says_so(machine, monkeypatch, caplog, lines):
    machine(*lines)
    caplog.set_level(logging.INFO)
    assert claim() == []
    assert "computes on the CPU" in caplog.text
    assert torch_device() == "cpu"
    monkeypatch.setenv("DISTILLERY_DEVICE", "gpu")
    with pytest.raises(UserError, match="needs 1 GPUs and may use 0"):
        claim()


def test_a_lost_gpu_keeps_its_number_and_is_left_out(machine, monkeypatch, caplog):
    held = name()
    machine(gpu(name(), code=LOST), gpu(held))
    nvml._warn_once.cache_clear()
    assert claim() == [held]
    assert claim() == [held]
    assert caplog.text.count("GPU is lost") == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert claim() == [held]


def test_without_nvml_the_names_of_a_scheduler_are_claimed_as_they_are(machine, monkeypatch):
    machine("init 12")
    names = [name(), os.fsdecode(name().encode() + b"\xff")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(names))
    with AnotherJob() as first, AnotherJob() as second:
        assert sorted(first.claimed() + second.claimed()) == sorted(names)


def test_the_library_of_windows_is_found_in_wsl(machine, library):
    held = name()
    machine(gpu(held))
    script = (
        "import sys; from pathlib import Path; from distillery.jobs import nvml; "
        "nvml.WSL_FOLDER = Path(sys.argv[1]); print(nvml.list_gpus()[0].uuid)"
    )
    command = [sys.executable, "-c", script, str(library.parent)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == held


# No CPU in silence


@pytest.mark.parametrize("visible", ["0", "GPU-1234", "0,1"])
@pytest.mark.usefixtures("no_cuda")
def test_a_job_that_was_given_a_gpu_does_not_compute_on_the_cpu(machine, monkeypatch, tmp_path, visible):
    """Torch sees none: its build, a container or a driver may be at fault."""
    from distillery.config.recipe import Train
    from distillery.sampling.backends.transformers import TransformersBackend
    from distillery.training.arguments import trainer_arguments
    from distillery.training.job import TrainingJob
    from distillery.training.objectives import OBJECTIVES

    objective = OBJECTIVES["cross-entropy"].model_validate({"loss": "cross-entropy"})
    job = TrainingJob(tmp_path, tmp_path, tmp_path, Train(), objective, "causal", 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for compute in (lambda: TransformersBackend(tmp_path, "causal"), lambda: trainer_arguments(job, 1)):
        with pytest.raises(
            UserError, match=rf"CUDA_VISIBLE_DEVICES = '{visible}': torch sees 0 GPUs.*DISTILLERY_DEVICE"
        ):
            compute()


@pytest.mark.usefixtures("no_cuda")
def test_a_user_may_choose_the_cpu_on_a_machine_with_gpus(machine, monkeypatch):
    machine(gpu(name()))
    monkeypatch.setenv("DISTILLERY_DEVICE", "cpu")
    with claimed_gpus(1) as claimed:
        assert claimed == []
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
        assert torch_device() == "cpu"
    monkeypatch.setenv("DISTILLERY_DEVICE", "cuda")
    with pytest.raises(UserError, match=r"DISTILLERY_DEVICE = 'cuda'.*Use auto, gpu or cpu"):
        claim()
