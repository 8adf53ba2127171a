"""A job killed at any step of the file system: the next run ends with the right files, and nothing is left behind."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from distillery.files import atomic_open
from distillery.jobs.runner import run
from distillery.temporary import replacement_folder

STEPS = ("open", "mkdir", "link", "replace", "rename", "unlink", "write", "fsync", "fchmod", "utime", "rmdir")
KILLED = 9


def main(number: Path, folder: Path, result: Path, factor: int) -> None:
    with replacement_folder(folder) as made:
        (made / "weights.bin").write_bytes(b"weights")
    with atomic_open(result) as out:
        out.write(str(factor * int(number.read_text())))


def in_a_process(work: Callable[[], None]) -> int:
    """Exit status of work in a process of its own, forked: no locks or open files of it outlive it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(step: int, job) -> Callable[[], None]:
    """The job, in a process that ends without any farewell before it takes that step."""

    def work() -> None:
        taken = 0

        def counted(call: Callable) -> Callable:
            def before(*args: object, **options: object) -> object:
                nonlocal taken
                taken += 1
                if taken == step:
                    os._exit(KILLED)
                return call(*args, **options)

            return before

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        run(replace(job), main)

    return work


@pytest.mark.reliability("kill", cases=54)
@pytest.mark.parametrize("restoring", [False, True])
def test_a_job_killed_at_any_step_leaves_a_cache_that_the_next_run_can_use(job, monkeypatch, restoring):
    monkeypatch.setattr("distillery.jobs.provenance._commit", lambda: None)
    job = replace(job, outputs={"folder": Path("out/model"), **job.outputs})
    step = 0
    status = KILLED
    while status == KILLED:
        step += 1
        for path in ("work", "out"):
            shutil.rmtree(path, ignore_errors=True)
        if restoring:
            assert in_a_process(lambda: run(replace(job), main)) == 0
            shutil.rmtree("out")
        status = in_a_process(killed_at(step, job))
        assert in_a_process(lambda: run(replace(job), main)) == 0, step
        assert Path("out/model/weights.bin").read_bytes() == b"weights"
        assert Path("out/result.txt").read_text() == "4"
        left = {path.name for path in Path().rglob("*") if path.name.endswith(".tmp")}
        assert not left, (step, left)
        objects = [path for path in Path("work/cache/v1/objects").rglob("*") if path.is_file()]
        assert len(objects) == 2
    assert status == 0 and step > 20
