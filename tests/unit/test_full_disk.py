"""A disk that is full, read-only or closed to the user: one line with the path and the remedy, and nothing lost."""

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from distillery.cli import app
from distillery.disk_faults import disk_fault
from distillery.errors import UserError
from distillery.files import atomic_open, write_json
from distillery.jobs.job import Job
from distillery.jobs.runner import run
from distillery.models.sources import new_folder
from distillery.sampling.budget import Budget
from distillery.sampling.store import SCHEMA, CompletionStore
from distillery.training.checkpoints import seal, writing_folder

pytestmark = pytest.mark.reliability("machine")

SIZE = 1 << 20


class Disk:
    """A file system of one megabyte."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        with open(self.path / "filler", "wb") as filler:
            while True:
                try:
                    os.write(filler.fileno(), bytes(4096))
                except OSError:
                    return

    def free(self) -> None:
        (self.path / "filler").unlink()

    def protect(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only the administrator may mount a small disk")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def one_line(text: str, path: Path) -> bool:
    """Does a message name a place on a disk, and what to do, in one line?"""
    return "\n" not in text and str(path) in text and text.rstrip()[-1] != "." and ". " in text


LARGE = "x" * 5000


def a_ledger(folder: Path) -> None:
    budget = Budget({"samples": 10}, folder / "ledger.jsonl")
    budget.note(samples=1, tokens=1, money=0)
    budget.close()


def a_unit(folder: Path) -> None:
    import pyarrow as pa

    rows = pa.table({field.name: pa.nulls(1, field.type) for field in SCHEMA})
    CompletionStore(str(folder)).put_unit(str(folder / "v1"), rows, 1)


def weights(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    with new_folder(folder / "model") as made:
        save_file({"w": torch.zeros(5000)}, made / "model.safetensors")


def optimizer(folder: Path) -> None:
    import torch

    written = writing_folder(folder) / "checkpoint-1"
    written.mkdir(parents=True)
    torch.save({"w": torch.zeros(5000)}, written / "optimizer.pt")


def a_seal(folder: Path) -> None:
    (writing_folder(folder) / "checkpoint-1").mkdir(parents=True)
    (writing_folder(folder) / "checkpoint-1" / "w").touch()
    seal(folder, 1, 1.0)


def a_figure(folder: Path) -> None:
    with atomic_open(folder / "figure.png", "wb") as out:
        out.write(LARGE.encode())


def a_caught_error(folder: Path) -> None:
    try:
        write_json(folder / "made.json", LARGE)
    except OSError as error:
        raise UserError("cannot be fetched", remedy="Check the network") from error


def plain(folder: Path) -> None:
    with open(folder / "made.txt", "w", encoding="utf-8") as out:
        out.write(LARGE)


def a_json_file(folder: Path) -> None:
    write_json(folder / "made.json", LARGE)


WRITERS = [a_ledger, a_unit, weights, optimizer, a_seal, a_figure, a_caught_error, plain, a_json_file]


def working(job: Job, disk: Disk, writer: Callable[[Path], None]) -> tuple[Job, Callable]:
    """A job on that disk, and a stage that fills the disk before it writes."""
    folder = disk.path / "out"
    folder.mkdir()
    here = {name: folder / path.name for name, path in job.outputs.items()}

    def main(number: Path, result: Path, factor: int) -> None:
        disk.fill()
        writer(folder)

    return replace(job, outputs=here), main


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_ends_a_job_with_one_line_and_leaves_nothing_half_written(job, disk, writer):
    job, main = working(job, disk, writer)
    with pytest.raises(UserError) as caught:
        run(job, main)
    assert one_line(str(caught.value), disk.path) and "the disk is full" in str(caught.value)
    assert "df -h" in str(caught.value)
    assert [path for path in (disk.path / "out").rglob("*") if path.name.endswith(".tmp")] == []


def test_a_read_only_disk_ends_a_job_with_one_line(job, disk):
    job, _ = working(job, disk, plain)

    def main(number: Path, result: Path, factor: int) -> None:
        disk.protect()
        write_json(result, LARGE)

    with pytest.raises(UserError) as caught:
        run(job, main)
    assert one_line(str(caught.value), job.outputs["result"]) and "read-only" in str(caught.value)


def double(number: Path, result: Path, factor: int) -> None:
    with atomic_open(result) as out:
        out.write(str(factor * int(number.read_text())))


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_cache_on_such_a_disk_fails_no_job(job, disk, fault, monkeypatch, caplog):
    monkeypatch.setenv("DISTILLERY_CACHE", str(disk.path / "cache"))
    disk.fill() if fault == "full" else disk.protect()
    run(job, double)
    assert job.outputs["result"].read_text() == "4" and json.loads(job.outputs["provenance"].read_text())["key"]
    (message,) = [entry.getMessage() for entry in caplog.records if "does not keep it" in entry.getMessage()]
    assert one_line(message, disk.path)
    assert [
        path for path in disk.path.rglob("*") if path.is_file() and path.name != "filler" and path.stat().st_size
    ] == []


def test_what_was_computed_is_in_the_cache_where_the_record_finds_no_space(job, disk):
    here = {name: disk.path / path.name for name, path in job.outputs.items()}
    runs = []

    def main(number: Path, result: Path, factor: int) -> None:
        runs.append(1)
        double(number, result, factor)
        disk.fill()

    with pytest.raises(UserError, match="the disk is full"):
        run(replace(job, outputs=here), main)
    disk.free()
    run(replace(job, outputs=here), main)
    assert len(runs) == 1 and here["result"].read_text() == "4" and here["provenance"].exists()


def test_a_result_that_finds_no_space_is_not_computed_again_but_reported(job, disk):
    run(job, double)
    here = {name: disk.path / path.name for name, path in job.outputs.items()}
    disk.fill()
    with pytest.raises(UserError) as caught:
        run(replace(job, outputs=here), lambda **_: pytest.fail("computed"))
    assert one_line(str(caught.value), disk.path)


@pytest.mark.parametrize("command", ["store export {}/slice.zip", "schemas --root {}"])
def test_a_command_on_a_full_disk_ends_with_one_line(tmp_path, disk, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (disk.path / "workflow" / "schemas").mkdir(parents=True)
    disk.fill()
    ended = CliRunner().invoke(app, command.format(disk.path).split())
    assert ended.exit_code == 1 and isinstance(ended.exception, SystemExit)
    assert ended.output.count("\n") == 1 and one_line(ended.output.strip(), disk.path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EFBIG])
@pytest.mark.parametrize("at", ["write", "fsync", "replace", "open"])
def test_any_fault_of_a_disk_at_any_step_names_the_file_and_the_remedy(job, monkeypatch, number, at):
    """The portable form of the tests above: the system call itself fails."""

    def main(number_: Path, result: Path) -> None:
        with atomic_open(result) as out:
            out.write("4")
            monkeypatch.setattr(os, at, fails) if at != "write" else fails()

    def fails(*_args: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    def opening(number_: Path, result: Path) -> None:
        monkeypatch.setattr(os, "open", fails)
        with atomic_open(result) as out:
            out.write("4")

    job = replace(job, inputs={"number_": job.inputs["number"]}, params={})
    monkeypatch.setenv("DISTILLERY_CACHE", "off")
    with pytest.raises(UserError) as caught:
        run(job, opening if at == "open" else main)
    monkeypatch.undo()
    message = str(caught.value)
    assert message.startswith("out") and "\n" not in message and caught.value.remedy and "Errno" not in message


def test_a_limit_on_the_size_of_files_ends_a_job_with_one_line(tmp_path):
    """A real fault that needs no administrator: the system refuses to let the file grow."""
    code = f"""
import resource, sys
from pathlib import Path
from distillery.files import write_json
from distillery.jobs.job import Job
from distillery.jobs.runner import run
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
run(Job("stage", {{}}, {{"result": Path("result.json")}}, {{}}), lambda result: write_json(result, {LARGE!r}))
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    last = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == 1 and "UserError: result.json: this file system or a limit permits no larger" in last
    assert list(tmp_path.glob("*result*")) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_a_script_prints_the_fault_without_a_traceback(tmp_path, disk):
    disk.fill()
    code = """
import sys
from pathlib import Path
from distillery.files import write_json
from distillery.jobs.runner import run_script
import distillery.jobs.runner as runner
runner.job_of_record = lambda _: runner.Job("stage", {}, {"result": Path(sys.argv[1])}, {})
run_script("stage", lambda result: write_json(result, 1), {"__name__": "__main__"})
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, str(disk.path / "made")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert f"{disk.path / 'made'}: the disk is full" in ended.stderr


@pytest.mark.parametrize("place", ["/dev/full", "file/log"])
def test_a_log_that_cannot_be_written_ends_no_job(tmp_path, place):
    """`/dev/full` answers each write as a full disk does; below a file no log can be opened."""
    (tmp_path / "file").touch()
    code = (
        "import logging, sys, warnings; from pathlib import Path; from distillery.logs import log_to\n"
        "log_to(Path(sys.argv[1]))\n"
        "for _ in range(3): logging.getLogger('stage').warning('a line'); print('x'); warnings.warn('y')\n"
        "raise ValueError('the end')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, place], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.count("the log cannot be written") == 1
    assert done.stderr.count("a line") == 3 and done.stderr.count("ValueError: the end") == 1


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file", "in.txt"),
        PermissionError(errno.EPERM, "Operation not permitted"),  # of a network or process, not of a file
        ValueError("space"),
        RuntimeError("CUDA out of memory"),
    ],
)
def test_other_errors_are_not_called_faults_of_a_disk(error, tmp_path):
    assert disk_fault(error, [tmp_path]) is None


def test_an_error_in_the_handling_of_a_missing_permission_is_not_called_one():
    def slip() -> None:
        try:
            raise PermissionError(errno.EACCES, "Permission denied", "file")
        except PermissionError:
            {}["a slip"]

    with pytest.raises(KeyError) as caught:
        slip()
    assert disk_fault(caught.value) is None


def test_a_cache_whose_every_step_fails_fails_no_job(job, monkeypatch):
    """The system calls of the cache's own folders fail one after another, and all of them."""

    def fails(*_args: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    steps = ["mkdir", "open", "stat", "listdir"]
    for failing in ([], *([step] for step in steps), steps):

        class System:
            """The module `os`, of which some functions fail."""

            def __getattr__(self, name: str, failing: list[str] = failing) -> object:
                return fails if name in failing else getattr(os, name)

        for module in ("cache_folders", "cache_entries", "cache_objects"):
            monkeypatch.setattr(f"distillery.jobs.{module}.os", System())
        job.outputs["result"].unlink(missing_ok=True)
        run(replace(job, params={**job.params, "code": str(failing)}), double)
        assert job.outputs["result"].read_text() == "4"
