"""A store of several users: who may write can, with any umask; who may not is refused before anything is paid for."""

import multiprocessing
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from distillery.errors import UserError
from distillery.sampling.requests import Request
from distillery.sampling.store import CompletionStore

from .recorded import Recorder, RecordingSampler

pytestmark = [
    pytest.mark.reliability("store"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users"),
]

ANNA, BEN, LAB = 64101, 64102, 64200
DECODING = {"temperature": 0.0, "max_new_tokens": 8}


@pytest.fixture
def shared():
    """A folder that all users reach, as pytest's own folders are private."""
    folder = Path(tempfile.mkdtemp(dir=os.path.realpath("/tmp"), prefix="distillery-test-"))
    folder.chmod(0o755)
    for user in (ANNA, BEN):
        (folder / f"home{user}").mkdir()
        os.chown(folder / f"home{user}", user, LAB)
    yield folder
    shutil.rmtree(folder)


def make_store(shared: Path, mode: int) -> Path:
    """Anna's folder for a store, of the group of the lab."""
    (shared / "store").mkdir()
    os.chown(shared / "store", ANNA, LAB)
    (shared / "store").chmod(mode)
    return shared / "store"


def as_user(user: int, umask: int, task: Callable[[], object]) -> object:
    """What a task returns, or the words of its UserError, in a process of this user."""
    here, there = multiprocessing.Pipe()

    def run() -> None:
        os.setgroups([])
        os.setgid(LAB)
        os.setuid(user)
        os.umask(umask)
        try:
            there.send(task())
        except UserError as error:
            there.send(error)
        except BaseException as error:
            there.send(f"{type(error).__name__}: {error}")

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    assert here.poll(60)
    told = here.recv()
    process.join()
    return told


def asks(store: Path, user: int, count: int, during: Callable[[int], None] = lambda number: None):
    """A task: the answers to the first questions, and how many of them the user's model gave."""

    def task() -> tuple[list[str], int]:
        os.environ["HOME"] = str(store.parent / f"home{user}")
        os.chdir(os.environ["HOME"])

        def answer(pending) -> str:
            during(len(recorder.calls[0][1]))
            return f"{user} on {pending.request.prompt}"

        recorder = Recorder(answer)
        sampler = RecordingSampler(store, recorder, store)
        requests = [Request(f"question {number}", 0) for number in range(count)]
        texts = [stored.text for stored in sampler.complete(requests, DECODING, [], "test")]
        return texts, len(recorder.prompts)

    return task


def texts(user: int, *numbers: int) -> list[str]:
    return [f"{user} on question {number}" for number in numbers]


@pytest.mark.parametrize("umask", [0o022, 0o077])
@pytest.mark.parametrize("mode", [0o2775, 0o775, 0o1777])
def test_users_of_one_store_find_and_add_whatever_their_umask(shared, mode, umask):
    store = make_store(shared, mode)
    assert as_user(ANNA, umask, asks(store, ANNA, 2)) == (texts(ANNA, 0, 1), 2)
    assert as_user(BEN, umask, asks(store, BEN, 3)) == (texts(ANNA, 0, 1) + texts(BEN, 2), 1)
    everything = (texts(ANNA, 0, 1) + texts(BEN, 2), 0)
    assert as_user(ANNA, umask, asks(store, ANNA, 3)) == everything
    for folder in store.rglob("*"):
        if folder.is_dir():
            assert stat.S_IMODE(folder.stat().st_mode) == mode


def test_who_may_not_write_reads_and_is_refused_before_anything_is_requested(shared):
    store = make_store(shared, 0o755)
    assert as_user(ANNA, 0o022, asks(store, ANNA, 2)) == (texts(ANNA, 0, 1), 2)
    assert as_user(BEN, 0o022, asks(store, BEN, 2)) == (texts(ANNA, 0, 1), 0)
    refusal = as_user(BEN, 0o022, asks(store, BEN, 3, during=lambda number: pytest.fail("a request was made")))
    assert isinstance(refusal, UserError)
    assert "nothing was requested" in str(refusal) and str(store) in str(refusal) and "how-to" in str(refusal)


def test_a_unit_that_may_not_be_read_is_not_paid_for_again(shared):
    store = make_store(shared, 0o2775)
    as_user(ANNA, 0o022, asks(store, ANNA, 2))
    for unit in store.rglob("*.parquet"):
        unit.chmod(0o600)
    refusal = as_user(BEN, 0o022, asks(store, BEN, 2, during=lambda number: pytest.fail("a request was made")))
    assert isinstance(refusal, UserError) and "cannot read" in str(refusal) and ".parquet" in str(refusal)


def test_what_comes_after_the_permission_is_gone_is_kept_and_put_into_the_store_by_the_next_run(shared):
    store = make_store(shared, 0o755)

    def permit(mode: int) -> None:
        for folder in store.glob("v1/??/*"):
            folder.chmod(mode)

    kept = as_user(ANNA, 0o022, asks(store, ANNA, 3, during=lambda number: permit(0o555)))
    assert isinstance(kept, UserError) and f"home{ANNA}/work/rescued" in str(kept)
    assert list(store.rglob("*.parquet")) == []
    refusal = as_user(ANNA, 0o022, asks(store, ANNA, 3, during=lambda number: pytest.fail("a request was made")))
    assert isinstance(refusal, UserError) and "nothing was requested" in str(refusal)
    permit(0o755)
    assert as_user(ANNA, 0o022, asks(store, ANNA, 4)) == (texts(ANNA, 0, 1, 2, 3), 1)
    assert list((shared / f"home{ANNA}").rglob("*.parquet")) == []
    assert len({row["key"] for _, table in rows(store) for row in table.to_pylist()}) == 4


def rows(store: Path):
    opened = CompletionStore(str(store))
    (folder,) = opened.series_folders()
    return opened.tables(folder)
