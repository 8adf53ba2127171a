"""Rows of a data set on the Hub: the pinned commit's, or a clear error; the record names what was read."""

import gzip
import hashlib
import io
import json
import zipfile

import pyarrow
import pytest
from pyarrow import parquet

from distillery.config.task import Task
from distillery.errors import UserError
from distillery.tasks.questions import build_task, summarise

from ..fakehub import hub as hub  # a fixture

pytestmark = pytest.mark.reliability("hub")

CARD = """---
configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*
  - split: test
    path: main/test-*
- config_name: other
  data_files:
  - split: train
    path: other/train-*
---
# A data set
"""


def table(rows: list[dict]) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def rows(mark: str, count: int) -> list[dict]:
    return [{"question": f"{mark} {number}?", "gold": str(number)} for number in range(count)]


def files(mark: str) -> dict[str, bytes]:
    """A repository with two configurations; questions begin with `mark`."""
    return {
        "README.md": CARD.encode(),
        "main/train-00000-of-00001.parquet": table(rows(f"{mark} train", 10)),
        "main/test-00000-of-00001.parquet": table(rows(f"{mark} test", 4)),
        "other/train-00000-of-00001.parquet": table([{"nothing": 1}]),
    }


def task(commit: str, **source) -> Task:
    declared = {"kind": "hub", "path": "org/set", "name": "main", "revision": commit, **source}
    declared.setdefault("splits", {"train": "train[:50%]", "test": "test"})
    return Task.model_validate({"task": "t", "title": "T", "source": declared, "answer": "number"})


def texts(questions) -> list[str]:
    return [question.question for question in questions]


def test_rows_are_those_of_the_commit_and_the_record_names_it(hub, tmp_path):
    made = files("first")
    commit = hub.add("datasets/org/set", made)
    hub.add("datasets/org/set", files("moved"))
    declared = task(commit)
    data = build_task(declared, downloads=tmp_path)
    assert texts(data.train) == [row["question"] for row in rows("first train", 5)]
    assert texts(data.test) == [row["question"] for row in rows("first test", 4)]
    used = ("README.md", "main/test-00000-of-00001.parquet", "main/train-00000-of-00001.parquet")
    assert summarise(declared, data)["read"] == {
        "repository": "org/set",
        "commit": commit,
        "files": {name: hashlib.sha256(made[name]).hexdigest() for name in used},
    }
    assert not [request for request in hub.asked if "/other/" in request]  # another configuration is not fetched


@pytest.mark.parametrize("offline", [True, False], ids=["offline", "closed port"])
def test_without_a_network_another_commit_in_the_cache_is_not_read(offline, hub, tmp_path, monkeypatch):
    pinned, newer = (hub.add("datasets/org/set", files(mark)) for mark in ("pinned", "newer"))
    read = build_task(task(newer), downloads=tmp_path)
    hub.stop()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    with pytest.raises(UserError, match=rf"config/tasks/t.yaml: source.path: org/set at {pinned}"):
        build_task(task(pinned), downloads=tmp_path)
    assert build_task(task(newer), downloads=tmp_path) == read


def test_a_changed_byte_in_the_cache_is_found_before_rows_are_read(hub, tmp_path):
    commit = hub.add("datasets/org/set", files("first"))
    build_task(task(commit), downloads=tmp_path)
    (path,) = tmp_path.rglob("main/train-*.parquet")
    content = path.read_bytes()
    path.resolve().write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    with pytest.raises(UserError, match=r"train-00000-of-00001.parquet: is not the commit's file"):
        build_task(task(commit), downloads=tmp_path)


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ({"name": "absent"}, r"source.name = 'absent'.*Available: \['main', 'other'\]"),
        ({"splits": {"train": "absent"}}, r"source.splits.train = 'org/set, absent'.*'train', 'test'"),
        ({"splits": {"train": "train[:x]"}}, r"source.splits.train = "),
    ],
)
def test_what_the_commit_lacks_is_named(source, match, hub, tmp_path):
    with pytest.raises(UserError, match=match):
        build_task(task(hub.add("datasets/org/set", files("first")), **source), downloads=tmp_path)


def archive(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr(name, content)
    return buffer.getvalue()


LINES = "".join(json.dumps(row) + "\n" for row in rows("a", 4)).encode()
COLUMNS = "question,gold\n" + "".join(f"{row['question']},{row['gold']}\n" for row in rows("a", 4))
FORMATS = {
    "JSON Lines in a folder": {"data/train.jsonl": LINES},
    "compressed": {"train.jsonl.gz": gzip.compress(LINES)},
    "CSV": {"train.csv": COLUMNS.encode()},
    "an archive": {"train.zip": archive("train.csv", COLUMNS.encode())},
    "Parquet": {"train.parquet": table(rows("a", 4))},
    "a pattern in a folder": {"README.md": b"---\nconfigs:\n- config_name: default\n  data_files: './d/*.csv'\n---\n",
                              "d/x.csv": COLUMNS.encode()},
    "files beside the data": {"train.csv": COLUMNS.encode(), ".gitattributes": b"x", "notes/read.pdf": b"x"},
}  # fmt: skip


@pytest.mark.parametrize("repository", FORMATS.values(), ids=FORMATS)
def test_formats_that_datasets_reads_are_read(repository, hub, tmp_path):
    commit = hub.add("datasets/org/set", repository)
    data = build_task(task(commit, name=None, splits={"train": "train", "test": "train"}), downloads=tmp_path)
    assert texts(data.train) == [row["question"] for row in rows("a", 4)]


def described(where: str, key: str = "data_files") -> bytes:
    return f"---\nconfigs:\n- config_name: default\n  {key}: '{where}'\n---\n".encode()


BOMB = "a0: &a0 ['x']\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
ROW = b"question,gold\n1,2\n"
HOSTILE = {
    "an absolute path": {"README.md": described("/etc/passwd")},
    "a path upwards": {"README.md": described("../../../../etc/passwd")},
    "a folder upwards": {"README.md": described("../..", "data_dir")},
    "an absolute folder": {"README.md": described("/etc", "data_dir")},
    "another server": {"README.md": described("https://127.0.0.1:9/x.csv")},
    "another repository": {"README.md": described("hf://datasets/org/other/x.csv")},
    "a chain of file systems": {"README.md": described("zip://x.csv::/tmp/x.zip")},
    "a second description": {".huggingface.yaml": b"configs:\n- {config_name: default, data_files: /etc/x}\n"},
    "a byte-order mark before it": {"README.md": b"\xef\xbb\xbf" + described("/etc/passwd")},
    "YAML without end": {"README.md": f"---\n{BOMB}configs: *a39\n---\n".encode()},
    "YAML that holds itself": {"README.md": b"---\nconfigs: &a [*a]\n---\n"},
    "no YAML": {"README.md": b"---\nconfigs: [\n---\n"},
    "a description that is not UTF-8": {"README.md": b"---\nx: \xff\n---\n"},
    "a script": {"rows.py": b"raise SystemExit", "set.py": b"raise SystemExit"},
    "a file and a folder of one name": {"a": b"1", "a/b.csv": ROW},
    "damaged Parquet": {"train.parquet": b"PAR1"},
    "damaged JSON": {"train.jsonl": b'{"question":\n{{{'},
    "a damaged archive": {"train.zip": b"PK"},
    "damaged compression": {"train.jsonl.gz": b"\x1f\x8b"},
}  # fmt: skip


@pytest.mark.parametrize("repository", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_or_damaged_repository_is_refused(repository, hub, tmp_path):
    usable = {} if any(name.startswith(("train", "a")) for name in repository) else {"train.csv": ROW}
    if "rows.py" in repository:
        usable = {}
    commit = hub.add("datasets/org/set", repository | usable)
    with pytest.raises(UserError, match=r"config/tasks/t.yaml: source\.(path|name|splits)"):
        build_task(task(commit, name=None, splits={"train": "train"}), downloads=tmp_path)
