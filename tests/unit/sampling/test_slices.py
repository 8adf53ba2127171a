"""Slices: valid completions come over once; anything else is refused whole, with its place, before it is written."""

import hashlib
import io
import json
import os
import signal
import stat
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from distillery.cli import app
from distillery.errors import UserError
from distillery.sampling import slice_checks, unit_checks
from distillery.sampling.requests import Request, Series
from distillery.sampling.slice_checks import Checked, SliceFault, check_slice
from distillery.sampling.slices import add_slice, check_apart, export, import_slice
from distillery.sampling.store import SCHEMA, CompletionStore, Stored
from distillery.sampling.store_maintenance import verify

pytestmark = pytest.mark.reliability("slice")

FUZZ = settings(
    max_examples=2_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

SERIES = Series(model="weights:abc", temperature=0.7, top_p=1.0, top_k=0, max_new_tokens=8)
OTHER = Series(model="weights:other", temperature=0.0, top_p=1.0, top_k=0, max_new_tokens=8)
SCORED = Series(model="weights:abc", temperature=0.7, top_p=1.0, top_k=0, max_new_tokens=8, scored=True)


def key_of(number: int, series: Series = SERIES) -> str:
    return Request(f"question {number}", 0).key(series)


def fill(store: CompletionStore, numbers, series: Series = SERIES, text: str = "four", reason: str = "stop") -> None:
    store.write_unit(series, [(f"question {n}", Stored(key_of(n, series), 0, text, reason, 3, 2)) for n in numbers])


@pytest.fixture
def store(tmp_path):
    made = CompletionStore(str(tmp_path / "store"))
    fill(made, range(4))
    fill(made, range(3, 6))
    fill(made, range(2), OTHER)
    return made


def rows(count: int = 2, series: Series = SERIES, **changed) -> list[dict]:
    """Rows of a valid unit; the last is changed."""
    made = [
        {"key": key_of(n, series), "prompt": f"question {n}", "sample_index": 0, "text": "four",
         "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 2}
        for n in range(count)
    ]  # fmt: skip
    made[-1] |= changed
    return made


def unit(table: pa.Table | list[dict], **how) -> bytes:
    out = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.Table.from_pylist(table, SCHEMA), out, **how)
    return out.getvalue()


def members(*units: bytes, series: Series = SERIES, described: dict | None = None) -> dict[str, bytes]:
    """Members of a slice whose digests are right, whatever its units hold."""
    sha = [hashlib.sha256(data).hexdigest() for data in units]
    names = [f"{series.digest}/{number:020d}-{digest[:32]}.parquet" for number, digest in enumerate(sha)]
    listing = {
        "format": 1,
        "series": {series.digest: described or series.describe()},
        "units": dict(zip(names, sha, strict=True)),
    }
    return {**dict(zip(names, units, strict=True)), "slice.json": json.dumps(listing).encode()}


def zipped(path: Path, files: dict[str, bytes] | list[tuple], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items() if isinstance(files, dict) else files:
            archive.writestr(name, data)
    return path


def relisted(files: dict[str, bytes], change) -> dict[str, bytes]:
    listing = json.loads(files["slice.json"])
    change(listing)
    return {**files, "slice.json": json.dumps(listing).encode()}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(path: Path) -> SliceFault:
    with pytest.raises(SliceFault) as caught:
        check_slice(path)
    return caught.value


def test_a_slice_carries_everything_once_into_another_store(store, tmp_path):
    count, digest = export(store, tmp_path / "slice.zip")
    other = CompletionStore(str(tmp_path / "other"))
    assert import_slice(other, tmp_path / "slice.zip", digest) == (8, 8, 0) and count == 8
    for series, numbers in ((SERIES, range(6)), (OTHER, range(2))):
        wanted = {key_of(n, series) for n in numbers}
        assert other.find(series, wanted) == store.find(series, wanted) and len(wanted) == len(numbers)
    assert list(verify(other)) == []
    before = snapshot(tmp_path / "other")
    assert import_slice(other, tmp_path / "slice.zip") == (8, 0, 0), "what is there is not added again"
    assert snapshot(tmp_path / "other") == before


def test_a_slice_of_some_keys_holds_these_alone(store, tmp_path):
    export(store, tmp_path / "slice.zip", {key_of(1), key_of(5)})
    other = CompletionStore(str(tmp_path / "other"))
    add_slice(other, tmp_path / "slice.zip", check_slice(tmp_path / "slice.zip"))
    assert set(other.find(SERIES, {key_of(n) for n in range(9)})) == {key_of(1), key_of(5)}


def test_the_stores_own_completion_stays_unless_it_failed(tmp_path):
    own, maker = CompletionStore(str(tmp_path / "own")), CompletionStore(str(tmp_path / "maker"))
    fill(own, [1], text="mine")
    fill(own, [2], text="", reason="failed")
    fill(maker, [1, 2, 3], text="theirs")
    export(maker, tmp_path / "slice.zip")
    assert add_slice(own, tmp_path / "slice.zip", check_slice(tmp_path / "slice.zip")) == (3, 2, 1)
    found = own.find(SERIES, {key_of(n) for n in range(9)})
    assert {key: stored.text for key, stored in found.items()} == {
        key_of(1): "mine", key_of(2): "theirs", key_of(3): "theirs",
    }  # fmt: skip


def test_a_slice_holds_what_readers_of_the_store_get(tmp_path):
    """A request that failed at first and was made again."""
    store, other = CompletionStore(str(tmp_path / "store")), CompletionStore(str(tmp_path / "other"))
    fill(store, [1], text="", reason="failed")
    fill(store, [1, 2], text="good")
    export(store, tmp_path / "slice.zip")
    assert add_slice(other, tmp_path / "slice.zip", check_slice(tmp_path / "slice.zip")).added == 2
    assert other.find(SERIES, {key_of(1)})[key_of(1)].text == "good"


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"text": None}, "text"), ({"prompt": None}, "prompt"), ({"key": None}, "key"),
        ({"sample_index": None}, "sample_index"),
        ({"finish_reason": "done"}, "finish_reason"), ({"finish_reason": ""}, "finish_reason"),
        ({"finish_reason": None}, "finish_reason"), ({"prompt_tokens": -1}, "prompt_tokens"),
        ({"completion_tokens": -5}, "completion_tokens"), ({"completion_tokens": None}, "completion_tokens"),
        ({"completion_tokens": 2**31 - 1}, "completion_tokens"), ({"sample_index": -1}, "sample_index"),
        ({"sample_index": 1}, "key"), ({"prompt": "another"}, "key"), ({"key": "0" * 32}, "key"),
        ({"key": "K" * 32}, "key"), ({"key": ""}, "key"), ({"key": "../../../etc/passwd"}, "key"),
    ],
)  # fmt: skip
def test_a_row_that_is_no_completion_is_refused_with_its_place_and_value(tmp_path, changed, place):
    fault = refused(zipped(tmp_path / "bad.zip", members(unit(rows(3, **changed)))))
    assert ".parquet, row 3, " + place in fault.place
    (value,) = changed.values()
    assert place == "key" or fault.value == value


@pytest.mark.parametrize("stored", ["four", "[]", '["a", NaN, null]', '["a", 1, 5]', '["a"]', "[" * 5000, '{"a": 1}'])
def test_a_text_of_a_scored_series_has_its_log_probability(tmp_path, stored):
    data = unit(rows(1, SCORED, text=stored))
    assert "row 1, text" in refused(zipped(tmp_path / "bad.zip", members(data, series=SCORED))).place


def cast(column: str, kind: pa.DataType, value=None) -> bytes:
    """A unit with one column of another type."""
    table = pa.Table.from_pylist(rows(), SCHEMA)
    place = SCHEMA.get_field_index(column)
    return unit(table.set_column(place, column, pa.array([value] * 2, kind)))


def raw_texts(data: bytes) -> bytes:
    """A unit with these bytes as a text."""
    column = pa.Array.from_buffers(
        pa.string(),
        1,
        [None, pa.py_buffer((0).to_bytes(4, "little") + len(data).to_bytes(4, "little")), pa.py_buffer(data)],
    )
    table = pa.Table.from_pylist(rows(1), SCHEMA)
    return unit(table.set_column(SCHEMA.get_field_index("text"), "text", column))


def many(count: int, text: str, **how) -> bytes:
    table = pa.Table.from_pylist(rows(count), SCHEMA)
    place = SCHEMA.get_field_index("text")
    return unit(table.set_column(place, "text", pa.array([text] * count, pa.string())), compression="zstd", **how)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (lambda: unit(pa.Table.from_pylist(rows(), SCHEMA).drop_columns(["text"])), "other columns"),
        (
            lambda: unit(pa.Table.from_pylist(rows(), SCHEMA).append_column("cost", [[1e999] * 2])),
            "other columns",
        ),
        (lambda: unit(pa.Table.from_pylist(rows(), SCHEMA).select(SCHEMA.names[::-1])), "other columns"),
        (lambda: cast("prompt_tokens", pa.int64(), 2**62), "other columns"),
        (lambda: cast("prompt_tokens", pa.float64(), float("inf")), "other columns"),
        (lambda: cast("text", pa.binary(), b"four"), "other columns"),
        (lambda: cast("text", pa.list_(pa.string()), ["four"]), "other columns"),
        (lambda: cast("text", pa.struct([("a", pa.string())]), {"a": "four"}), "other columns"),
        (lambda: cast("text", pa.large_string(), "four"), "other columns"),
        (lambda: unit(pa.table({})), "other columns"),
        (lambda: b"", "not a Parquet file"),
        (lambda: b"PAR1", "not a Parquet file"),
        (lambda: unit(rows())[:-9], "not a Parquet file"),
        (lambda: unit(rows())[:200] + unit(rows())[300:], "not a Parquet file"),
        (lambda: raw_texts(b"\xed\xa0\x80"), "not a Parquet file"),  # a lone surrogate
        (lambda: raw_texts(b"\xff\xfe"), "not a Parquet file"),
        (lambda: many(2000, "x" * 100_000), "bytes in memory"),
        (lambda: many(700, "x" * 100_000, use_dictionary=False), "bytes uncompressed"),
        (lambda: many(1, "x" * (17 << 20)), "a text of 17,825,792 bytes"),
        (lambda: unit(rows(100), row_group_size=1), "in 100 groups"),
        (lambda: unit(pa.Table.from_pylist(rows(1) * 70_000, SCHEMA)), "70,000 rows"),
        (lambda: unit(rows(1) * 2), "a second completion of one key"),
    ],
)
def test_a_unit_with_right_digests_that_is_no_unit_is_refused(tmp_path, data, problem):
    assert problem in refused(zipped(tmp_path / "bad.zip", members(data()))).problem


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", float("nan")), ("temperature", float("inf")), ("temperature", -1), ("temperature", "0.7"),
        ("temperature", None), ("top_p", 2), ("top_k", 2**80), ("max_new_tokens", -1), ("max_new_tokens", 1.5),
        ("stop", "x"), ("stop", [None]), ("stop", ["x" * 2000]), ("seed", True), ("model", ""), ("model", 5),
        ("format", 2), ("scored", 1), ("choice", {}), ("unknown", 1), ("temperature", 0.1),
    ],
)  # fmt: skip
def test_a_description_of_a_series_is_checked_field_by_field(tmp_path, field, value):
    described = {**SERIES.describe(), field: value}
    fault = refused(zipped(tmp_path / "bad.zip", members(unit(rows()), described=described)))
    assert SERIES.digest in fault.place and (field in fault.place or "does not belong to its name" in fault.problem)


def link(files):
    info = zipfile.ZipInfo("slice.json")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return [(info if name == "slice.json" else name, data) for name, data in files.items()]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda files: {**files, "../../evil.py": b"print()"}, "none of a slice"),
        (lambda files: {**files, "/etc/evil": b""}, "none of a slice"),
        (lambda files: {**files, f"{SERIES.digest}/": b""}, "none of a slice"),
        (lambda files: {**files, "nested.zip": b"PK"}, "none of a slice"),
        (lambda files: {**files, "\x1b[2Jx": b""}, "none of a slice"),
        (lambda files: {f"../{n}" if n != "slice.json" else n: data for n, data in files.items()}, "none of a slice"),
        (lambda files: [*files.items(), ("slice.json", b"{}")], "two files of this name"),
        (link, "something else than a file"),
        (lambda files: {"slice.json": files["slice.json"]}, "other files than it lists"),
        (lambda files: {name: data for name, data in files.items() if name != "slice.json"}, "no slice.json"),
        (lambda files: {n: data + b" " * (n != "slice.json") for n, data in files.items()}, "bytes of this unit were"),
        (lambda files: relisted(files, lambda listing: listing["units"].clear()), "other files than it lists"),
        (lambda files: relisted(files, lambda listing: listing["series"].clear()), "is not described"),
        (lambda files: relisted(files, lambda listing: listing.update(format=99)), "another format"),
        (lambda files: relisted(files, lambda listing: listing.update(more=1)), "another format"),
        (lambda files: relisted(files, lambda listing: listing.update(units=[])), "another format"),
        (lambda files: relisted(files, lambda listing: listing["units"].update({"../x": "0" * 64})), "other files"),
        (lambda files: {**files, "slice.json": b"[" * 100_000}, "another format"),
        (lambda files: {**files, "slice.json": b'{"format": ' + b"9" * 100_000 + b"}"}, "another format"),
        (lambda files: {**files, "slice.json": b"\xff\xfe"}, "another format"),
        (lambda files: {**files, "slice.json": b'"\\ud800"'}, "another format"),
    ],
)
def test_a_zip_file_with_anything_else_than_listed_units_is_refused(tmp_path, change, problem):
    assert problem in refused(zipped(tmp_path / "bad.zip", change(members(unit(rows()))))).problem


def encrypted(data: bytes) -> bytes:
    """The first member's flag of encryption set, in both of its headers."""
    central = data.index(b"PK\x01\x02")
    patched = bytearray(data)
    patched[6] |= 1
    patched[central + 8] |= 1
    return bytes(patched)


def understated(data: bytes) -> bytes:
    """All sizes of members in the central directory are said to be 1."""
    patched, place = bytearray(data), -1
    while (place := data.find(b"PK\x01\x02", place + 1)) >= 0:
        patched[place + 24 : place + 28] = (1).to_bytes(4, "little")
    return bytes(patched)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda data: b"", "it is empty|not a slice"), (lambda data: b"nothing", "not a slice"),
        (lambda data: data[:-30], "not a slice"), (lambda data: data[: len(data) // 2], "not a slice"),
        (lambda data: data[60:], "not a slice"), (encrypted, "it is encrypted"), (understated, "not a slice"),
        (lambda data: unit(rows()), "not a slice"), (lambda data: zlib.compress(data), "not a slice"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_whole_zip_file_is_refused(tmp_path, damage, problem):
    path = zipped(tmp_path / "bad.zip", members(unit(rows())))
    path.write_bytes(damage(path.read_bytes()))
    assert any(word in refused(path).problem for word in problem.split("|"))


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe").problem == refused(tmp_path).problem == "not a file"
    assert "No such file" in refused(tmp_path / "absent").problem


def test_zip_bombs_are_refused_before_they_are_read(tmp_path):
    zeros = zipped(tmp_path / "zeros.zip", {"slice.json": b"0" * (31 << 20)}, zipfile.ZIP_DEFLATED)
    assert "at most 20 times as many" in refused(zeros).problem
    large = zipped(tmp_path / "large.zip", {"slice.json": b"0" * (33 << 20)}, zipfile.ZIP_DEFLATED)
    assert "at most 33,554,432 are read" in refused(large).problem


def test_too_many_members_or_completions_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(slice_checks, "MAX_MEMBERS", 2)
    for count in (2, 5):
        units = [unit([row]) for row in rows(count)]
        assert "files in it" in refused(zipped(tmp_path / "many.zip", members(*units))).problem
    with monkeypatch.context() as broken:  # the list of members has not been read
        broken.setattr(zipfile, "ZipFile", None)
        assert "more than 2 files" in refused(tmp_path / "many.zip").problem
    monkeypatch.setattr(slice_checks, "MAX_COMPLETIONS", 2)
    assert "more than 2 completions" in refused(zipped(tmp_path / "bad.zip", members(unit(rows(3))))).problem


def test_one_key_in_two_units_is_refused(tmp_path):
    units = unit(rows(2)), unit(rows(1, text="five"))
    assert refused(zipped(tmp_path / "bad.zip", members(*units))).problem == "a second completion of one key"


def page_of_another_size(data: bytes, size: int) -> bytes:
    """A unit whose footer says that its columns are small, whatever their pages hold."""
    about = pq.ParquetFile(pa.BufferReader(data)).metadata
    said = {about.row_group(0).column(n).total_uncompressed_size for n in range(len(SCHEMA))}
    patched = data
    for number in said:
        if number > size:
            patched = patched.replace(varint(number), varint(size, len(varint(number))))
    return patched


def varint(number: int, width: int = 0) -> bytes:
    """As Thrift's compact protocol writes an i64, on at least `width` bytes."""
    zigzag, out = number << 1, []
    while zigzag > 127 or len(out) + 1 < width:
        out.append(zigzag & 127 | 128)
        zigzag >>= 7
    return bytes([*out, zigzag])


def test_a_page_that_is_larger_than_the_file_says_ends_the_reader_and_not_the_machine(tmp_path):
    """A page of 120 MB, where the process that reads it gets 40 MB more than it has."""
    honest = many(1, "x" * (120 << 20), use_dictionary=False)
    lying = page_of_another_size(honest, 1000)
    about = pq.ParquetFile(pa.BufferReader(lying)).metadata.row_group(0)
    assert sum(about.column(n).total_uncompressed_size for n in range(len(SCHEMA))) < 10_000 and len(lying) < 500_000
    with pytest.raises(UserError, match=r"memory|status"):
        check_apart(zipped(tmp_path / "bad.zip", members(lying)), memory=40 << 20)


def test_an_export_is_cut_into_units_that_an_import_reads(tmp_path, monkeypatch):
    monkeypatch.setattr("distillery.sampling.slices.MAX_UNIT_BYTES", 4096)
    monkeypatch.setattr(unit_checks, "MAX_UNIT_BYTES", 4096)
    store = CompletionStore(str(tmp_path / "store"))
    fill(store, range(40), text="x" * 300)
    export(store, tmp_path / "slice.zip")
    assert check_slice(tmp_path / "slice.zip").completions == 40


def test_the_command_names_file_place_value_and_remedy_and_leaves_the_store_unchanged(store, tmp_path):
    path = zipped(tmp_path / "bad.zip", members(unit(rows(3, finish_reason="done"))))
    before = snapshot(tmp_path / "store")
    told = CliRunner().invoke(app, ["store", "import", str(path), "--store", store.location])
    assert told.exit_code == 1 and "Traceback" not in told.output
    for word in (str(path), "row 3, finish_reason", "'done'", "Get it again", "nothing was imported"):
        assert word in told.output
    assert snapshot(tmp_path / "store") == before


def test_a_slice_made_again_is_refused_by_the_digest_of_the_first(store, tmp_path):
    _, digest = export(store, tmp_path / "slice.zip")
    forged = CompletionStore(str(tmp_path / "forged"))
    fill(forged, range(6), text="five")
    export(forged, tmp_path / "bad.zip")
    with pytest.raises(SliceFault, match="another than the one you gave"):
        check_slice(tmp_path / "bad.zip", digest)
    assert check_slice(tmp_path / "slice.zip", digest).completions == 8


def test_a_file_that_changes_between_check_and_import_is_refused(store, tmp_path):
    export(store, tmp_path / "slice.zip")
    other = CompletionStore(str(tmp_path / "other"))
    with pytest.raises(UserError, match="changed while it was imported"):
        add_slice(other, tmp_path / "slice.zip", Checked("0" * 64, 8))
    assert not (tmp_path / "other").exists()


def good_in_a_process(path: Path) -> bool:
    """Whether a slice is found good. A damaged file can abort the reader in C++, as in an import it ends a process."""
    process = os.fork()
    if not process:
        code = 2
        try:
            check_slice(path)
            code = 0
        except SliceFault:
            code = 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in (0, 1, -signal.SIGABRT, -signal.SIGSEGV), "what a fault raises is a SliceFault"
    return code == 0


@pytest.mark.reliability("slice", cases=FUZZ.max_examples)
@FUZZ
@given(data=st.data())
def test_flipped_bytes_give_a_valid_slice_or_a_fault(tmp_path, data):
    """Bytes of the zip file, or of a unit whose digests are made to fit."""
    good = unit(rows(5))
    inside = data.draw(st.booleans())
    source = bytearray(good if inside else zipped(tmp_path / "good.zip", members(good)).read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(source) - 1), min_size=1, max_size=4)):
        source[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "flipped.zip"
    if inside:
        zipped(path, members(bytes(source)))
    else:
        path.write_bytes(source)
    if inside and not good_in_a_process(path):
        return
    try:
        checked = check_slice(path)  # from outside, changed bytes never reach the reader
    except SliceFault:
        assert not inside
        return
    other = CompletionStore(str(tmp_path / f"other-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"))
    add_slice(other, path, checked)
    assert list(verify(other)) == []
