"""The completion store: keyed by what was asked, append-only, and honest about damage."""

import hashlib
import threading
from dataclasses import fields, replace

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


@pytest.mark.parametrize("units", [[["first", "second"]], [["first"], ["second"]]], ids=["one unit", "two units"])
def test_of_two_completions_of_one_key_the_first_written_counts(store, units):
    (key,) = keys(1)
    for unit in units:
        store.write_unit(SERIES, [(PROMPT, stored(key, text)) for text in unit])
    missing = keys(1, "asked by nobody")  # without it reading ends at the first unit, and the second is never seen
    assert store.find(SERIES, {key, *missing})[key].text == "first"


def of_what_is_asked() -> list:
    """Each field of a series and of a request, with another value."""
    changed = {
        "model": "weights:other", "temperature": 0.8, "top_p": 0.5, "top_k": 9, "max_new_tokens": 9, "stop": ("z",),
        "seed": 1, "scored": True, "choice": ("1", "2"),
    }  # fmt: skip
    of_request = {"prompt": "3 + 3?", "sample_index": 1, "special_tokens": False, "written": "so"}
    assert set(changed) == {field.name for field in fields(Series)}, "a new field of a series needs a case"
    assert set(of_request) == {field.name for field in fields(Request)}, "a new field of a request needs a case"
    return [
        *(pytest.param({name: value}, {}, id=name) for name, value in changed.items()),
        *(pytest.param({}, {name: value}, id=name) for name, value in of_request.items()),
    ]


@pytest.mark.parametrize(("of_series", "of_request"), of_what_is_asked())
def test_whatever_shapes_a_text_is_part_of_its_key_and_of_its_seed(of_series, of_request):
    request = Request(PROMPT, 0)
    key = request.key(SERIES)
    other = replace(request, **of_request).key(replace(SERIES, **of_series))
    assert key != other and seed_of(key) != seed_of(other)
    assert (SERIES.digest == replace(SERIES, **of_series).digest) == (not of_series)


def test_the_samples_of_a_question_have_seeds_of_their_own():
    seeds = [seed_of(Request(PROMPT, index).key(SERIES)) for index in range(64)]
    assert len(set(seeds)) == 64 and max(seeds) > 2**30


def test_a_key_is_the_digest_of_all_that_was_asked():
    """By hand: stores are kept for years, and another digest asks every model again."""
    described = (
        '{"format": 1, "max_new_tokens": 8, "model": "weights:abc", "seed": 0, "stop": ["\\n"], "temperature": 0.7, '
        '"top_k": 0, "top_p": 1.0}'
    )
    series = hashlib.sha256(described.encode()).hexdigest()[:32]
    key = hashlib.sha256(f"{series}\x001\x003\x002 + 2?".encode()).hexdigest()[:32]
    stopped = replace(SERIES, stop=("\n",))
    assert (stopped.digest, Request(PROMPT, 3).key(stopped)) == (series, key)
    assert seed_of(key) == int(key[:8], 16) % 2**31


def test_what_was_written_is_another_thing_than_the_end_of_a_prompt():
    """A decoder that goes on after " so" is not asked what an encoder reads with it."""
    assert Request("why so", 0).key(SERIES) != Request("why", 0, written=" so").key(SERIES)


def test_the_form_in_which_log_probabilities_are_kept_is_part_of_the_series():
    """Texts of the first form have no tail: a search that found them would start from other tokens."""
    assert replace(SERIES, scored=True).describe()["scored"] == 2
    assert replace(SERIES, choice=("1", "2")).describe().keys() - SERIES.describe().keys() == {"choice"}


@pytest.mark.parametrize("greedy", [True, False])
def test_settings_of_drawing_reach_the_series_unless_it_is_greedy(greedy):
    decoding = {"temperature": 0 if greedy else 0.7, "top_p": 0.5, "top_k": 3, "max_new_tokens": 8, "seed": 4}
    made = Series.of("m", decoding, ["a", "b"], ("1", "2"), scored=True)
    drawn = (1.0, 0, 0) if greedy else (0.5, 3, 4)
    assert (made.top_p, made.top_k, made.seed) == drawn
    assert (made.model, made.max_new_tokens, made.stop, made.choice, made.scored) == (
        "m", 8, ("a", "b"), ("1", "2"), True,
    )  # fmt: skip


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
