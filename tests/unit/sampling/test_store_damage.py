"""Files of the store as power failures, other versions, clocks and strangers leave them: what is whole is found."""

import hashlib
import io
import os
import time
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.sampling.requests import Series
from distillery.sampling.sampler import outcomes_again
from distillery.sampling.store import CompletionStore
from distillery.sampling.units import Stored

SERIES = Series(model="weights:abc", temperature=0.7, top_p=1.0, top_k=0, max_new_tokens=8)
KEYS = [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(3)]
EXAMPLES = 1000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 50

pytestmark = pytest.mark.reliability("store")


def stored(key: str, text: str = "four", reason: str = "stop") -> Stored:
    return Stored(key, 0, text, reason, 3, 1)


def in_memory() -> CompletionStore:
    """A new store without a disk: a fuzzer makes many."""
    return CompletionStore(f"memory://{uuid.uuid4().hex}")


@pytest.fixture(scope="module", autouse=True)
def locks_of_stores_in_memory(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISTILLERY_WORK", str(tmp_path_factory.mktemp("work")))
        yield


@pytest.fixture
def store(tmp_path):
    return CompletionStore(str(tmp_path / "store"))


def unit(store: CompletionStore, table: pa.Table | bytes, time_ns: int) -> Path:
    """A file with the name of a unit, whose digest is right."""
    buffer = io.BytesIO()
    data = table if isinstance(table, bytes) else (pq.write_table(table, buffer), buffer.getvalue())[1]
    name = Path(store.folder(SERIES), f"{time_ns:020d}-{hashlib.sha256(data).hexdigest()[:32]}.parquet")
    name.parent.mkdir(parents=True, exist_ok=True)
    name.write_bytes(data)
    return name


def rows(**columns) -> pa.Table:
    plain = {"key": [KEYS[1]], "prompt": ["p"], "sample_index": [0], "text": ["bad"], "finish_reason": ["stop"],
             "prompt_tokens": [1], "completion_tokens": [1]}  # fmt: skip
    return pa.table({name: values for name, values in (plain | columns).items() if values is not None})


damages = st.one_of(
    st.builds(lambda end: lambda data: data[: int(end * len(data))], st.floats(0, 0.999)),
    st.just(lambda data: bytes(len(data))),
    st.builds(lambda start: lambda data: data[: int(start * len(data))] + bytes(99), st.floats(0, 0.99)),
    st.builds(lambda junk, at: lambda data: data[: int(at * len(data))] + junk + data[int(at * len(data)) :],
              st.binary(min_size=1), st.floats(0, 1)),
    st.builds(lambda junk: lambda data: junk, st.binary()),
)  # fmt: skip


@pytest.mark.reliability("store", cases=EXAMPLES)
@settings(max_examples=EXAMPLES)
@given(st.lists(damages, min_size=1, max_size=3), st.booleans())
def test_whole_units_are_found_beside_damaged_ones(how, renamed):
    """`renamed`: the digest in the name is that of the damaged bytes, as if somebody had made the unit so."""
    store = in_memory()
    for key in KEYS:
        store.write_unit(SERIES, [("p", stored(key))])
    broken = store.units(store.folder(SERIES))[1]
    data = store.files.cat_file(broken)
    for damage in how:
        data = damage(data)
    if renamed:
        store.files.rm_file(broken)
        broken = f"{store.folder(SERIES)}/{5:020d}-{hashlib.sha256(data).hexdigest()[:32]}.parquet"
    store.files.pipe_file(broken, data)
    store.write_unit(SERIES, [("p", stored(KEYS[1], "later"))])
    found = store.find(SERIES, set(KEYS))
    assert found[KEYS[0]] == stored(KEYS[0]) and found[KEYS[2]] == stored(KEYS[2])
    assert found[KEYS[1]].text in ("later", "four")


STRANGE_ROWS = {
    "no key": rows(key=pa.array([None], pa.string())),
    "no text": rows(text=pa.array([None], pa.string())),
    "no count": rows(prompt_tokens=pa.array([None], pa.int32())),
    "a negative count": rows(completion_tokens=[-1]),
    "a negative index": rows(sample_index=[-1]),
    "no such end": rows(finish_reason=["zap"]),
    "a count out of range": rows(prompt_tokens=[2**40]),
    "a text that is no UTF-8": rows(text=pa.array([b"\xff"]).view(pa.binary()).cast(pa.binary())),
    "numbers for texts": rows(text=[pa.scalar(1.5)]),
    "lists for texts": rows(text=[["a"]]),
    "a column less": rows(finish_reason=None),
    "another version": pa.table({"id": ["x"], "completion": ["y"]}),
    "no column": pa.table({}),
}


@pytest.mark.parametrize("table", STRANGE_ROWS.values(), ids=STRANGE_ROWS)
def test_rows_that_are_no_completions_are_left_out_and_the_log_says_so(store, table, caplog):
    unit(store, table, 1)
    store.write_unit(SERIES, [("p", stored(KEYS[0]))])
    assert set(store.find(SERIES, set(KEYS))) == {KEYS[0]}
    assert "left out" in caplog.text or "no unit of this version" in caplog.text


def test_columns_of_a_later_version_are_passed_over(store):
    unit(store, rows(text=["good"], mood=["fine"]), 1)
    assert store.find(SERIES, {KEYS[1]})[KEYS[1]].text == "good"


def test_things_that_are_no_files_are_no_units(store):
    store.write_unit(SERIES, [("p", stored(KEYS[0]))])
    folder = Path(store.folder(SERIES))
    (folder / "folder.parquet").mkdir()
    os.mkfifo(folder / "pipe.parquet")  # whoever reads it waits for ever
    (folder / "link.parquet").symlink_to("nowhere")
    (folder / "notes.txt").write_text("hello")
    (folder / "name.parquet").write_bytes(b"")
    assert set(store.find(SERIES, set(KEYS))) == {KEYS[0]}


def test_a_damaged_description_is_written_again(store):
    store.write_unit(SERIES, [("p", stored(KEYS[0]))])
    description = Path(store.folder(SERIES), "series.json")
    whole = description.read_bytes()
    description.write_bytes(bytes(len(whole)))
    store.write_unit(SERIES, [("p", stored(KEYS[1]))])
    assert description.read_bytes() == whole


@pytest.mark.reliability("store", cases=EXAMPLES)
@settings(max_examples=EXAMPLES)
@given(st.lists(st.integers(0, 2**63) | st.just(10**20 - 1), min_size=2, max_size=5))
def test_the_first_written_counts_whatever_clocks_say(clocks):
    """Each write with the clock of another machine: set back, ahead, or at the end of all digits."""
    store = in_memory()
    with pytest.MonkeyPatch.context() as patch:
        for number, clock in enumerate(clocks):
            patch.setattr(time, "time_ns", lambda clock=clock: clock)
            store.write_unit(SERIES, [("p", stored(KEYS[0], f"text {number}"))])
            reader = CompletionStore(store.location).find(SERIES, {KEYS[0], "asked by nobody"})
            assert reader[KEYS[0]].text == "text 0"
        assert len(store.units(store.folder(SERIES))) == len(clocks)


@pytest.mark.reliability("store", cases=EXAMPLES)
@settings(max_examples=EXAMPLES)
@given(st.lists(st.sampled_from(["failed", "refused", "stop", "length"]), min_size=1, max_size=6), st.integers(0, 2))
def test_an_outcome_gives_way_to_a_better_one_that_comes_later_and_to_nothing_else(reasons, together):
    store = in_memory()
    rows = [("p", stored(KEYS[0], f"text {number}", reason)) for number, reason in enumerate(reasons)]
    store.write_unit(SERIES, rows[: together + 1])
    for row in rows[together + 1 :]:
        store.write_unit(SERIES, [row])
    best = next(good for good in ({"stop", "length"}, {"refused"}, {"failed"}) if good & set(reasons))
    first = next(number for number, reason in enumerate(reasons) if reason in best)
    assert store.find(SERIES, {KEYS[0]})[KEYS[0]].text == f"text {first}"


def test_completions_that_ended_are_not_requested_again(monkeypatch, caplog):
    monkeypatch.setenv("DISTILLERY_REQUEST_AGAIN", "failed, refused")
    assert outcomes_again() == {"failed", "refused"}
    monkeypatch.setenv("DISTILLERY_REQUEST_AGAIN", "failed,length")
    assert outcomes_again() == {"failed"} and "length is passed over" in caplog.text


def test_temporary_files_of_killed_writers_are_removed_after_an_hour(store):
    name = store.write_unit(SERIES, [("p", stored(KEYS[0]))])
    old, young = (Path(name).with_name(f".{Path(name).name}.{end}") for end in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    store.write_unit(SERIES, [("p", stored(KEYS[1]))])
    assert not old.exists() and young.exists()


def test_a_writer_that_was_overtaken_writes_after_the_other(store, monkeypatch):
    """It is stopped when its bytes are on disk and not at their place; another process takes over and writes first."""
    real = os.replace
    stops = iter([True])

    def replace(source, target, **folders):
        if str(target).endswith(".parquet") and next(stops, False):
            store._remove_unfinished(store.folder(SERIES), 0.0)  # as who takes the lock over does
            monkeypatch.setattr(os, "replace", real)
            other = CompletionStore(store.location)
            unit(other, rows(text=["of the other"]), time.time_ns())
        return real(source, target, **folders)

    monkeypatch.setattr(os, "replace", replace)
    store.write_unit(SERIES, [("p", stored(KEYS[1], "of the one that was stopped"))])
    assert store.find(SERIES, {KEYS[1], "nobody's"})[KEYS[1]].text == "of the other"
    assert len(store.units(store.folder(SERIES))) == 2
