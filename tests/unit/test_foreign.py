"""Files of others: read as their format says, or refused with file and line; nothing else comes out of a reader."""

import csv
import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.errors import UserError
from distillery.files import read_json_lines
from distillery.foreign import csv_rows, json_lines, parse_json, read_text

pytestmark = pytest.mark.reliability("data-file")

LINE_SEPARATOR, NEXT_LINE, FORM_FEED = "\u2028", "\u0085", "\f"
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.reliability("data-file", cases=100)
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_rows_of_any_text_come_back_as_they_were_written(rows, ends):
    out = io.StringIO(newline="")
    lines = csv.writer(out, lineterminator=ends, quoting=csv.QUOTE_ALL)
    lines.writerows([("question", "gold"), *rows])
    found = [(row["question"], row["gold"]) for _, row in csv_rows(out.getvalue(), "x.csv")]
    assert found == rows


@pytest.mark.reliability("data-file", cases=100)
@given(st.lists(VALUES, max_size=5), st.booleans())
def test_lines_of_any_json_come_back_as_they_were_written(values, plain):
    text = "".join(json.dumps(value, ensure_ascii=plain) + "\n" for value in values)
    assert [value for _, value in json_lines(text, "x.jsonl")] == values


@pytest.mark.parametrize("sign", [LINE_SEPARATOR, NEXT_LINE, FORM_FEED, "\v", "\x1c", "\u2029"])
def test_only_a_line_feed_ends_a_row_of_csv(sign):
    assert csv_rows(f"question,gold\na{sign}b,1\n", "x.csv") == [(2, {"question": f"a{sign}b", "gold": "1"})]


@pytest.mark.parametrize("sign", [LINE_SEPARATOR, NEXT_LINE, "\u2029"])
def test_only_a_line_feed_ends_a_line_of_json(sign, tmp_path):
    text = f'"a{sign}b"\n"c"\r\n'
    (tmp_path / "x.jsonl").write_bytes(text.encode())
    assert [value for _, value in json_lines(text, "x.jsonl")] == [f"a{sign}b", "c"]
    assert read_json_lines(tmp_path / "x.jsonl") == [f"a{sign}b", "c"]


CSV_FAULTS = {
    "a row too short": ("a,b\n1,2\n3\n", "x.csv:3: the row has 1 fields"),
    "a row too long": ("a,b\n1,2,3\n", "x.csv:2: the row has 3 fields"),
    "a column without a name": ("a,,b\n1,2,3\n", "x.csv:1: column 2 has no name"),
    "a column twice": ("a,b,a\n1,2,3\n", "x.csv:1 = 'a': two columns have this name"),
    "no header": ("", "x.csv:1: no header"),
    "a blank line in front": ("\na,b\n", "x.csv:1: no header"),
    "semicolons": ("a;b\n1;2\n", "x.csv:1.*separated by ';'"),
    "a quote without end": ('a,b\n1,2\n"3,4\n5,6\n', "x.csv:3: the double quote that opens"),
    "text behind a quote": ('a,b\n"1"x,2\n', "x.csv:2: not valid CSV"),
    "a carriage return alone": ("a,b\n1\r2,3\n", "x.csv:2: a carriage return alone"),
    "carriage returns only": ("a,b\r1,2\r", "x.csv:1: a carriage return alone"),
}


@pytest.mark.parametrize(("text", "words"), CSV_FAULTS.values(), ids=CSV_FAULTS)
def test_rows_that_are_no_csv_are_refused_with_their_line(text, words):
    with pytest.raises(UserError, match=words):
        csv_rows(text, "x.csv")


def test_a_field_may_be_longer_than_the_limit_of_the_csv_module_and_the_limit_stays():
    before = csv.field_size_limit()
    assert csv_rows(f"a,b\n{'x' * 300_000},2\n", "x.csv")[0][1]["a"] == "x" * 300_000
    assert csv.field_size_limit() == before


JSON_FAULTS = {
    "a key twice": ('{"a": 1, "b": {"c": 1, "c": 2}}', "x.json:7: b: the key 'c' is given twice"),
    "NaN": ('{"a": [1, NaN]}', "x.json:7: a.1: NaN is no number"),
    "infinity": ('{"a": -Infinity}', "x.json:7: a: -Infinity is no number"),
    "beyond floats": ('{"a": 1e999}', "x.json:7: a: the number 1e999 is beyond"),
    "too many digits": ("9" * 5000, "x.json:7: a number of more than 4,300 digits"),
    "half a surrogate pair": ('{"a": "\\ud800"}', "x.json:7: half of a surrogate pair"),
    "the other half": ('{"a": "\\udc00 b"}', "x.json:7: half of a surrogate pair"),
    "halves in a key": ('{"\\ud800b": 1}', "x.json:7: half of a surrogate pair"),
    "deep nesting": ("[" * 100_000, "x.json:7: nested more than 200 deep"),
    "deep objects": ('{"a":' * 5000 + "1" + "}" * 5000, "x.json:7: nested more than 200 deep"),
    "two documents": ("{} {}", "x.json:7: not valid JSON: trailing characters, at column 4"),
    "nothing": ("", "x.json:7: not valid JSON"),
    "single quotes": ("{'a': 1}", "x.json:7: not valid JSON"),
    "a comment": ("{} // x", "x.json:7: not valid JSON"),
    "the second line": ("{\n]", "x.json:8: not valid JSON"),
}


@pytest.mark.parametrize(("text", "words"), JSON_FAULTS.values(), ids=JSON_FAULTS)
def test_json_that_no_standard_allows_is_refused_with_its_line(text, words):
    with pytest.raises(UserError, match=words):
        parse_json(text, "x.json", line=7)


BYTES = {
    "UTF-16": ("a,b\n".encode("utf-16"), "it is UTF-16"),
    "UTF-16, the other way": (b"\xfe\xff\0a", "it is UTF-16"),
    "UTF-32": ("a".encode("utf-32"), "it is UTF-32"),
    "Latin-1": ("a\nb\nä".encode("latin-1"), "x.csv:3: not a UTF-8 text"),
    "a surrogate": (b"\xed\xa0\x80", "x.csv:1: not a UTF-8 text"),
    "NUL": (b"a\nb\0", "x.csv:2: a NUL byte"),
    "gzip": (b"\x1f\x8b\x08\0", "a gzip file"),
    "a spreadsheet": (b"PK\x03\x04", "as spreadsheets of Excel are"),
    "too large": (b"x" * 1001, "1,001 bytes, and at most 1,000"),
}


@pytest.mark.parametrize(("content", "words"), BYTES.values(), ids=BYTES)
def test_bytes_that_are_no_text_are_refused_by_what_they_are(content, words, tmp_path):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_text(tmp_path / "x.csv", "x.csv", limit=1000)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfa\xef\xbb\xbf")
    assert read_text(tmp_path / "x") == "a\ufeff"


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "device", "loop", "none", "", "a\0b", "a" * 300):
        with pytest.raises(UserError, match="cannot be read"):
            read_text(tmp_path / name)


ODD_BYTES = st.binary(max_size=60) | st.text('{}[]",:\n\r\\ud8an1e9;\t', max_size=60).map(str.encode)


@pytest.mark.reliability("data-file", cases=100)
@given(ODD_BYTES)
def test_bytes_become_values_or_one_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "odd"
    path.write_bytes(content)
    for read in (
        lambda text: parse_json(text, path),
        lambda text: list(json_lines(text, path)),
        lambda text: csv_rows(text, path),
        lambda text: csv_rows(text, path, delimiter=";", ragged=True),
    ):
        said = ""
        try:
            json.dumps(read(read_text(path)), ensure_ascii=False, allow_nan=False).encode()
        except UserError as error:
            said = str(error)
        assert not said or str(path) in said
