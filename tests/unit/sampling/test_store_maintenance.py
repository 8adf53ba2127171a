"""Store tools: counts are right, damage is found, garbage goes and no more."""

import json

import pytest
from typer.testing import CliRunner

from distillery.cli import app
from distillery.errors import UserError
from distillery.sampling.requests import Request, Series
from distillery.sampling.slices import export
from distillery.sampling.store import CompletionStore, Stored
from distillery.sampling.store_maintenance import collect, statistics, verify

SERIES = Series(model="weights:abc", temperature=0.7, top_p=1.0, top_k=0, max_new_tokens=8)
OTHER = Series(model="weights:other", temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=8)


def key_of(number: int, series: Series = SERIES) -> str:
    return Request(f"question {number}", 0).key(series)


def fill(store: CompletionStore, numbers, series: Series = SERIES, text: str = "four") -> None:
    store.write_unit(series, [(f"question {n}", Stored(key_of(n, series), 0, text, "stop", 3, 2)) for n in numbers])


@pytest.fixture
def store(tmp_path):
    made = CompletionStore(str(tmp_path / "store"))
    fill(made, range(4))
    fill(made, range(3, 6))  # 3 was drawn by two jobs at a time
    fill(made, range(2), OTHER)
    return made


def unit_of(store: CompletionStore, series: Series = SERIES) -> str:
    return store.units(store.folder(series))[0]


def test_statistics_count_completions_once_and_tell_what_was_drawn_twice(store):
    told = {one.model: one for one in statistics(store)}
    assert (told["weights:abc"].completions, told["weights:abc"].twice, told["weights:abc"].units) == (6, 1, 2)
    assert told["weights:other"].completion_tokens == 4


def test_a_whole_store_has_no_faults(store):
    assert list(verify(store)) == []


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda data: data[:-9], "torn or changed"),
        (
            lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
            "torn or",
        ),
    ],
)
def test_a_damaged_unit_is_found(store, damage, fault):
    name = unit_of(store)
    with open(name, "rb") as file:
        data = file.read()
    with open(name, "wb") as file:
        file.write(damage(data))
    assert [(where, fault in what) for where, what in verify(store)] == [(name, True)]


@pytest.mark.parametrize("described", [b"", b"[" * 100_000, b"[]", b'{"model": "\xff"}', None])
def test_a_damaged_description_of_a_series_is_named_by_every_tool(store, tmp_path, described):
    name = f"{store.folder(SERIES)}/series.json"
    with open(name, "rb") as file:
        changed = file.read().replace(b"0.7", b"0.9") if described is None else described
    with open(name, "wb") as file:
        file.write(changed)
    assert [where for where, _ in verify(store)] == [name]
    for tool in (lambda: list(statistics(store)), lambda: export(store, tmp_path / "slice.zip")):
        with pytest.raises(UserError, match="not the description of this series") as told:
            tool()
        assert told.value.file == name
    assert not (tmp_path / "slice.zip").exists()


def test_a_key_that_does_not_follow_from_its_prompt_is_found(store):
    store.write_unit(SERIES, [("another question", Stored(key_of(9), 0, "four", "stop", 3, 2))])
    assert ["does not follow" in fault for _, fault in verify(store)] == [True]


def test_collection_drops_what_nobody_needs_and_merges_the_rest(store):
    before = store.find(SERIES, {key_of(1), key_of(4)})
    assert collect(store, {key_of(1), key_of(4)}, 0) == (7, 2), "counted, nothing removed"
    assert len(store.units(store.folder(SERIES))) == 2
    assert collect(store, {key_of(1), key_of(4)}, 0, remove=True) == (7, 2)
    assert store.find(SERIES, {key_of(n) for n in range(6)}) == before
    assert len(store.units(store.folder(SERIES))) == 1
    assert list(verify(store)) == []


def test_collection_leaves_young_units_alone(store):
    assert collect(store, set(), 3600, remove=True) == (0, 9)
    assert len(store.find(SERIES, {key_of(n) for n in range(6)})) == 6


def test_the_first_completion_of_a_key_still_counts_after_a_merge(tmp_path):
    store = CompletionStore(str(tmp_path))
    fill(store, [1], text="first")
    fill(store, [2])
    collect(store, {key_of(1), key_of(2)}, 0, remove=True)
    fill(store, [1], text="second")
    assert store.find(SERIES, {key_of(1)})[key_of(1)].text == "first"


def test_a_merge_does_not_make_old_completions_young(tmp_path):
    """Two old units are merged while a young one, which stays alone, has the same key."""
    store = CompletionStore(str(tmp_path))
    for number, text in ((1, "first"), (2, "other")):
        fill(store, [number], text=text)
        (name,) = store.units(store.folder(SERIES))[-1:]
        store.put_unit(store.folder(SERIES), store.read_unit(name), number)
        store.files.rm_file(name)
    fill(store, [1], text="second")
    collect(store, {key_of(1), key_of(2)}, 3600, remove=True)
    assert len(store.units(store.folder(SERIES))) == 2
    assert store.find(SERIES, {key_of(1), key_of(2), key_of(9)})[key_of(1)].text == "first"


def test_the_command_line_tells_and_moves_what_is_there(store, tmp_path):
    run = CliRunner().invoke
    assert "8 completions" in run(app, ["store", "stats", "--store", store.location]).output
    assert run(app, ["store", "verify", "--store", store.location]).exit_code == 0
    told = run(app, ["store", "export", str(tmp_path / "s.zip"), "--store", store.location])
    assert told.exit_code == 0 and "digest" in told.output
    into = ["store", "import", str(tmp_path / "s.zip"), "--store", str(tmp_path / "new")]
    assert "8 added" in run(app, into).output
    assert run(app, [*into, "--digest", "0" * 64]).exit_code == 1
    needed = tmp_path / "results" / "completions.jsonl"
    needed.parent.mkdir()
    needed.write_text(json.dumps({"completion_id": key_of(2)}) + "\n")
    collect_them = ["store", "gc", "--older-than", "0s", "--results", str(needed.parent), "--store", store.location]
    assert "8 completions would go" in run(app, collect_them).output
    assert "8 completions removed" in run(app, [*collect_them, "--yes"]).output
    assert run(app, ["store", "gc", "--older-than", "soon"]).exit_code == 1
