"""The completion store: keyed by what was asked, append-only, and honest about damage."""

import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.sampling.requests import Request, Series, seed_of
from distillery.sampling.store import CompletionStore, Stored

PROMPT = "2 + 2?"
SERIES = Series(model="weights:abc", temperature=0.7, top_p=1.0, top_k=0, max_new_tokens=8)


def stored(key: str, text: str = "four") -> Stored:
    return Stored(key, 0, text, "stop", 3, 1)


def keys(count: int, salt: str = "") -> list[str]:
    return [Request(f"question {salt}{number}", 0).key(SERIES) for number in range(count)]


@pytest.fixture
def store(tmp_path):
    return CompletionStore(str(tmp_path / "store"))


def test_what_was_written_is_found_by_key_and_nothing_else_is(store):
    wanted, other = keys(2)
    with store.writer(SERIES) as writer:
        writer.add(PROMPT, stored(wanted))
    assert store.find(SERIES, {wanted, other}) == {wanted: stored(wanted)}
    assert store.find(replace(SERIES, temperature=0.8), {wanted}) == {}


def test_a_killed_writer_keeps_what_it_flushed(store):
    done, lost = keys(2)
    writer = store.writer(SERIES).__enter__()
    writer.add(PROMPT, stored(done))
    writer.flush()
    writer.add(PROMPT, stored(lost))  # the process dies here: no exit, no flush
    assert set(store.find(SERIES, {done, lost})) == {done}


def test_an_exception_while_sampling_loses_nothing_that_was_added(store):
    (key,) = keys(1)

    def sample() -> None:
        with store.writer(SERIES) as writer:
            writer.add(PROMPT, stored(key))
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        sample()
    assert key in store.find(SERIES, {key})


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-7], lambda data: data[:9] + b"\0" + data[10:], lambda data: b""]
)
def test_a_torn_or_changed_unit_is_reported_and_skipped_and_the_others_are_read(store, tmp_path, damage, caplog):
    whole, broken = keys(2)
    store.write_unit(SERIES, [(PROMPT, stored(whole))])
    name = store.write_unit(SERIES, [(PROMPT, stored(broken))])
    with open(name, "rb") as unit:
        data = unit.read()
    with open(name, "wb") as unit:
        unit.write(damage(data))
    assert set(store.find(SERIES, {whole, broken})) == {whole}
    assert "torn or was changed" in caplog.text


def test_of_two_completions_of_one_key_the_first_written_counts(store):
    (key,) = keys(1)
    store.write_unit(SERIES, [(PROMPT, stored(key, "first"))])
    store.write_unit(SERIES, [(PROMPT, stored(key, "second"))])
    assert store.find(SERIES, {key})[key].text == "first"


def test_writers_at_the_same_time_do_not_disturb_each_other(store):
    def write(salt: str) -> None:
        with store.writer(SERIES) as writer:
            for key in keys(100, salt):
                writer.add(PROMPT, stored(key, salt))

    writers = [threading.Thread(target=write, args=(str(number),)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    wanted = {key for number in range(4) for key in keys(100, str(number))}
    assert set(store.find(SERIES, wanted)) == wanted


def test_a_store_lies_wherever_fsspec_reaches():
    store = CompletionStore("memory://completions")
    (key,) = keys(1)
    with store.writer(SERIES) as writer:
        writer.add(PROMPT, stored(key))
    assert store.find(SERIES, {key}) == {key: stored(key)}


series = st.builds(
    Series,
    model=st.text(max_size=5),
    temperature=st.floats(0.1, 2),
    top_p=st.floats(0.1, 1),
    top_k=st.integers(0, 99),
    max_new_tokens=st.integers(1, 999),
    stop=st.lists(st.text(max_size=3), max_size=2).map(tuple),
    seed=st.integers(0, 9),
)
requests = st.builds(Request, prompt=st.text(max_size=8), sample_index=st.integers(0, 99), special_tokens=st.booleans())


@given(series, requests, series, requests)
def test_two_keys_are_equal_exactly_when_the_same_thing_was_asked(one_series, one, other_series, other):
    same = (one_series, one) == (other_series, other)
    assert (one.key(one_series) == other.key(other_series)) == same


@given(series, requests)
def test_a_seed_follows_from_the_key_alone_and_every_backend_takes_it(one_series, one):
    assert 0 <= seed_of(one.key(one_series)) < 2**31
    assert seed_of(one.key(one_series)) == seed_of(one.key(one_series))


def test_greedy_requests_share_a_key_whatever_the_sampling_settings():
    greedy = {"temperature": 0, "max_new_tokens": 8, "seed": 1, "top_p": 0.5, "top_k": 3}
    assert Series.of("m", greedy, []) == Series.of("m", {"temperature": 0.0, "max_new_tokens": 8}, [])
