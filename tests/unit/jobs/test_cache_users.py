"""Two users on one cache: what one may not write or read costs the other a computation at most."""

import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from distillery.files import atomic_open
from distillery.jobs.runner import run
from distillery.temporary import replacement_folder

pytestmark = [
    pytest.mark.reliability("shared-cache"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only the administrator may become another user"),
]
NOBODY = 65534


def main(number: Path, folder: Path, result: Path, factor: int) -> None:
    with open("runs", "a", encoding="utf-8") as lines:
        lines.write("run\n")
    with replacement_folder(folder) as made:
        (made / "weights.bin").write_bytes(b"weights")
    with atomic_open(result) as out:
        out.write(str(factor * int(number.read_text())))


@pytest.fixture
def place(monkeypatch) -> Iterator[Path]:
    """A folder that every user may enter, with a cache in it and a folder of each user."""
    root = Path(tempfile.mkdtemp(dir="/tmp"))
    root.chmod(0o755)
    for name, user in (("first", 0), ("second", NOBODY)):
        (root / name).mkdir()
        (root / name / "in.txt").write_text("2")
        os.chown(root / name, user, user)
    monkeypatch.setenv("DISTILLERY_CACHE", str(root / "cache"))
    yield root
    shutil.rmtree(root)


def as_user(user: int, folder: Path, work: Callable[[], None]) -> int:
    """Exit status of work as another user, in a folder."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
            os.chdir(folder)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def runs(folder: Path) -> int:
    return (folder / "runs").read_text().count("run") if (folder / "runs").exists() else 0


@pytest.fixture
def job(job, place):
    """A job that has run once here, in another cache: the other user may not be able to read Python's own modules."""
    job = replace(job, outputs={"folder": Path("out/model"), **job.outputs})
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DISTILLERY_CACHE", "warm")
        for _ in range(2):
            run(replace(job), main)
    return job


def test_a_user_who_may_only_read_restores_what_another_has_computed(job, place):
    assert as_user(0, place / "first", lambda: run(replace(job), main)) == 0
    assert as_user(NOBODY, place / "second", lambda: run(replace(job), main)) == 0
    assert runs(place / "first") == 1 and runs(place / "second") == 0
    weights = place / "second" / "out" / "model" / "weights.bin"
    assert weights.read_bytes() == b"weights" and weights.stat().st_uid == NOBODY, "a copy of one's own"


@pytest.mark.parametrize("closed", ["entries", "objects", "cache"])
def test_a_user_who_may_not_read_computes(job, place, closed):
    assert as_user(0, place / "first", lambda: run(replace(job), main)) == 0
    path = place / "cache" if closed == "cache" else place / "cache" / "v1" / closed
    path.chmod(0o700)
    assert as_user(NOBODY, place / "second", lambda: run(replace(job), main)) == 0
    assert runs(place / "second") == 1 and (place / "second" / "out" / "result.txt").read_text() == "4"


def test_a_user_whose_own_folder_is_closed_reads_which_one(job, place):
    from distillery.errors import UserError

    (place / "second" / "out").mkdir()  # of the administrator

    def work() -> None:
        with pytest.raises(UserError, match=r"out.*permission denied.*Ask the owner"):
            run(replace(job), main)

    assert as_user(NOBODY, place / "second", work) == 0


def test_copies_of_another_user_stay(place):
    from distillery.temporary import remove_abandoned

    shared = place / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    copy = shared / ".made.0badb007-01234567.tmp"
    copy.touch()
    os.utime(copy, (0, 0))
    assert as_user(NOBODY, shared, lambda: os._exit(10 + remove_abandoned(shared))) == 10 and copy.exists()
