"""A shared cache is written by others: no entry, object or link in it makes a job fail, write or delete elsewhere."""

import copy
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from distillery.cli import app
from distillery.errors import UserError
from distillery.files import atomic_open
from distillery.jobs.cache import ArtifactCache
from distillery.jobs.cache_entries import FOLDER
from distillery.jobs.job import Job
from distillery.jobs.runner import run
from distillery.planning.forecast import Forecast, JobStatus
from distillery.planning.rates import Rates
from distillery.planning.snakemake_graph import Node

pytestmark = pytest.mark.reliability("shared-cache")

REPOSITORY = Path(__file__).parents[3]
WEIGHTS = b"weights" * 1000
VICTIM = b"what the user wrote"
SHA_OF_VICTIM = hashlib.sha256(VICTIM).hexdigest()
CACHE = Path("work/cache/v1")


@pytest.fixture
def job(job, monkeypatch):
    """A job with a folder of weights among its outputs, and a file of the user's beside the cache."""
    monkeypatch.setattr("distillery.jobs.provenance._commit", lambda: None)  # as outside a repository, without git
    for place in (Path("victim"), Path("work/victim"), Path("work/cache/v1/victim"), Path("out/victim")):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(VICTIM)
    return replace(job, outputs={"folder": Path("out/model"), **job.outputs})


class Maker:
    """The job's work; counts how often it is really run."""

    runs = 0

    def __call__(self, number: Path, folder: Path, result: Path, factor: int) -> None:
        self.runs += 1
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "weights.bin").write_bytes(WEIGHTS)
        (folder / "config.json").write_bytes(b"{}")
        with atomic_open(result) as out:
            out.write(str(factor * int(number.read_text())))


def stored_once(job, maker) -> str:
    """The text of the job's valid entry; the job runs for the first case only."""
    valid = Path("valid.json")
    if not valid.exists():
        run(job, maker)
        valid.write_bytes(entry_file(job).read_bytes())
    clear(job)
    return valid.read_text()


def clear(job) -> None:
    """Remove outputs, as Snakemake does before a job."""
    for path in job.outputs.values():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def outside() -> dict[str, bytes | str]:
    """All files and links that are neither in the cache nor an output of the job."""
    kept = {}
    for folder, folders, files in os.walk("."):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_relative_to(CACHE) and path.name != "victim":
                continue
            if re.match(r"out/(model|result\.txt|provenance\.json)", str(path)) or path.is_fifo():
                continue
            if path.is_symlink():
                kept[str(path)] = os.readlink(path)
            elif path.is_file():
                kept[str(path)] = path.read_bytes()
    return kept


def entry_file(job) -> Path:
    return ArtifactCache.from_environment().entry_path(job.key)


def assert_right(job, maker, runs: int) -> None:
    """The job runs, its outputs hold the right bytes and nothing else, and nothing outside was touched."""
    before = outside()
    clear(job)
    run(replace(job), maker)
    files = {str(path.relative_to("out/model")): path for path in Path("out/model").rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in files.items()} == {
        "deep/weights.bin": WEIGHTS,
        "config.json": b"{}",
    }
    assert job.outputs["result"].read_text() == "4"
    assert json.loads(job.outputs["provenance"].read_text())["params"] == job.params
    assert not any(path.is_symlink() for path in Path("out").rglob("*"))
    assert outside() == before
    assert maker.runs == runs, entry_file(job).read_text()[:3000]


def assert_commands_survive() -> None:
    """The commands about the cache end without a traceback, and touch nothing outside it."""
    before = outside()
    for arguments in (["stats"], ["gc", "--older-than", "0s"], ["verify"], ["gc", "--older-than", "0s", "--yes"]):
        ended = CliRunner().invoke(app, ["cache", *arguments])
        assert isinstance(ended.exception, SystemExit | None), (arguments, ended.exception)
        assert ended.output.isascii() or "│" in ended.output or "─" in ended.output
        assert "\x1b]" not in ended.output
    assert outside() == before


def spoilt(document: dict, change: Callable[[dict], object]) -> str:
    """The text of an entry after a change."""
    changed = copy.deepcopy(document)
    made = change(changed)
    return made if isinstance(made, str) else json.dumps(changed)


def files_of(entry: dict) -> dict:
    return entry["outputs"]["folder"]["files"]


def renamed(name: str) -> Callable[[dict], object]:
    """The weights under another name."""
    return lambda entry: files_of(entry).update({name: files_of(entry).pop("deep/weights.bin")})


def also(name: str) -> Callable[[dict], object]:
    """The weights under another name too."""
    return lambda entry: files_of(entry).update({name: files_of(entry)["deep/weights.bin"]})


def content(**fields: object) -> Callable[[dict], object]:
    return lambda entry: files_of(entry)["deep/weights.bin"].update(fields)


def result(**fields: object) -> Callable[[dict], object]:
    return lambda entry: entry["outputs"]["result"].update(fields)


def record(**fields: object) -> Callable[[dict], object]:
    return lambda entry: entry["record"].update(fields)


def top(**fields: object) -> Callable[[dict], object]:
    return lambda entry: entry.update(fields)


NAMES = [
    "../victim", "../../victim", "deep/../../../victim", "..", ".", "", "/", "deep/", "/victim", "//victim", "./a",
    "a//b", "a/./b", "a/..", "a\0b", "a\nb", "a\x1b]0;t\x07", "a\\b", "\udcff", "a\u202eb", "x" * 5000,
    "/".join("a" * 500), ".snakemake_timestamp", "\u0665" * 200, "C:\\x", "a\u2028b", " \t",
]  # fmt: skip
COLLISIONS = ["DEEP/weights.bin", "deep", "deep/weights.bin/more", "config.json/x", "Config.JSON", "deep/we\u0131ghts"]
CHANGES: dict[str, Callable[[dict], object]] = {
    **{f"name {ascii(name)[:30]}": renamed(name) for name in NAMES},
    **{f"also {name}": also(name) for name in COLLISIONS[:-1]},
    "names that are one in Unicode": lambda e: [also("\u00e9")(e), also("e\u0301")(e)],
    "digest of a path": content(sha256="../../victim"),
    "digest of a path from the root": content(sha256="/victim"),
    "digest in capitals": content(sha256="A" * 64),
    "digest too short": content(sha256="a" * 63),
    "digest with a newline": content(sha256="a" * 64 + "\n"),
    "digest with other digits": content(sha256="\u0661" * 64),
    "digest null": content(sha256=None),
    "digest of nothing": content(sha256="0" * 64),
    "size negative": content(bytes=-1),
    "size true": content(bytes=True),
    "size text": content(bytes="7000"),
    "size fraction": content(bytes=7000.0),
    "size wrong": content(bytes=6999),
    "size huge": content(bytes=10**30),
    "time text": content(mtime_ns="now"),
    "time huge": content(mtime_ns=2**70),
    "mode": content(mode=0o4777),
    "link": content(link="/etc/passwd"),
    "result is a folder": result(folder=True, files={"x": {"sha256": "0" * 64, "bytes": 0, "mtime_ns": 0}}),
    "result is an empty folder": result(folder=True, files={}),
    "result has two files": lambda e: e["outputs"]["result"]["files"].update(x=e["outputs"]["result"]["files"][""]),
    "result has no file": result(files={}),
    "result has a named file": lambda e: e["outputs"]["result"].update(
        files={"../victim": e["outputs"]["result"]["files"][""]}
    ),
    "result null": lambda e: e["outputs"].update(result=None),
    "folder is a file": lambda e: e["outputs"].update(folder=e["outputs"]["result"]),
    "folder is 1": lambda e: e["outputs"]["folder"].update(folder=1),
    "files a list": lambda e: e["outputs"]["folder"].update(files=[]),
    "no outputs": top(outputs={}),
    "outputs null": top(outputs=None),
    "one output too few": lambda e: e["outputs"].pop("result"),
    "one output too many": lambda e: e["outputs"].update({"../../victim": e["outputs"]["result"]}),
    "too many files": lambda e: files_of(e).update({f"f{n}": files_of(e)["config.json"] for n in range(10_001)}),
    "key of another": top(key="0" * 32),
    "key a path": top(key="../../victim"),
    "key null": top(key=None),
    "stage with markup": top(stage="[/red]\x1b]0;t\x07"),
    "stage null": top(stage=None),
    "more keys": top(extra=1),
    "record null": top(record=None),
    "record a list": top(record=[1]),
    "record of another stage": record(stage="other"),
    "record of another key": record(key="0" * 32),
    "seconds text": record(seconds="long"),
    "seconds negative": record(seconds=-1),
    "seconds of many digits": record(seconds=int("9" * 4000)),
    "host a list": record(host=["a"]),
    "host with escapes": record(host="a\x1b[2Jb"),
    "host long": record(host="h" * 10**6),
    "inputs text": record(inputs="in.txt"),
    "lone surrogate": record(note="\ud800"),
    "deep in the record": record(note=json.loads("[" * 500 + "]" * 500)),
    "infinity": lambda e: json.dumps(e).replace('"factor": 2', '"factor": 1e999'),
    "not a number": lambda e: json.dumps(e).replace('"factor": 2', '"factor": NaN'),
    "too many digits": lambda e: json.dumps(e).replace('"factor": 2', '"factor": ' + "9" * 5000),
    "a key twice": lambda e: json.dumps(e)[:-1] + ', "key": "x"}',
    "deep": lambda e: "[" * 10**6,
    "deep objects": lambda e: '{"a":' * 10**5,
    "huge": lambda e: " " * (33 << 20) + json.dumps(e),
    "a list": lambda e: json.dumps([e]),
    "a text": lambda e: '"entry"',
    "null": lambda e: "null",
    "empty": lambda e: "",
    "NUL": lambda e: "\0" * 100,
    "cut": lambda e: json.dumps(e)[:-20],
    "byte-order mark": lambda e: "\ufeff" + json.dumps(e),
}  # fmt: skip


WHOLE = {"digest of nothing", "size wrong", "result is a folder", "result is an empty folder", "folder is a file",
         "no outputs", "one output too few", "one output too many"}  # fmt: skip
"""Entries that another job could have, with the objects that they name."""


@pytest.mark.reliability("shared-cache", cases=len(CHANGES))
def test_a_malformed_entry_means_that_the_job_is_computed(job, caplog):
    document, path = json.loads(stored_once(job, Maker())), entry_file(job)
    for name, change in CHANGES.items():
        caplog.clear()
        maker = Maker()
        path.write_text(spoilt(document, change), encoding="utf-8", errors="surrogatepass")
        hostile = path.read_bytes()
        assert_right(job, maker, 1)
        warnings = [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]
        assert len(warnings) == 1 and path.name in warnings[0] and warnings[0].isprintable(), (name, warnings)
        assert len(warnings[0]) < 1000
        path.write_bytes(hostile)
        assert list(ArtifactCache.from_environment().entries()) == [] or name in WHOLE
        if name in {"stage with markup", "key a path", "name '../../victim'", "deep"}:
            assert_commands_survive()


def test_the_record_of_a_restored_result_says_what_the_job_is_whatever_the_entry_says(job):
    run(job, Maker())
    own = json.loads(job.outputs["provenance"].read_text())
    path = entry_file(job)
    entry = json.loads(path.read_text())
    lies = {"params": {"factor": 9}, "input_digests": {"number": []}, "output_digests": {}, "outputs": {}, "inputs": {}}
    entry["record"].update(lies)
    path.write_text(json.dumps(entry))
    clear(job)
    run(replace(job), Maker())
    restored = json.loads(job.outputs["provenance"].read_text())
    assert restored.pop("restored") and restored == own


def test_bytes_that_are_no_text_are_no_entry(job):
    maker = Maker()
    run(job, maker)
    entry_file(job).write_bytes(b"\xff\xfe" + os.urandom(100))
    assert_right(job, maker, 2)


def linked_to(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def linked_folder(path: Path) -> None:
    """A folder elsewhere, with files that have the names which the cache uses."""
    elsewhere = Path("elsewhere").absolute()
    elsewhere.mkdir()
    for name in (SHA_OF_VICTIM, hashlib.sha256(b"{}").hexdigest(), hashlib.sha256(WEIGHTS).hexdigest(), "victim"):
        (elsewhere / name).write_bytes(VICTIM)
    path.symlink_to(elsewhere)


THINGS: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "folder": lambda path: (path.mkdir(), (path / "x").write_text("x")),
    "link to zeros": linked_to("/dev/zero"),
    "link to a file of the user": lambda path: path.symlink_to(Path("victim").absolute()),
    "link to nothing": linked_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to a folder": linked_to("/"),
    "hard link to a file of the user": lambda path: os.link("victim", path),
    "empty file": lambda path: path.touch(),
    "sparse file": lambda path: (path.touch(), os.truncate(path, 1 << 20)),
}


@pytest.mark.reliability("shared-cache", cases=3 * len(THINGS))
@pytest.mark.parametrize("where", ["entry", "weights", "result"])
def test_what_is_no_plain_file_of_the_cache_is_not_read_or_followed(job, where, tmp_path):
    for thing in THINGS.values():
        maker = Maker()
        shutil.rmtree("work/cache/v1/entries", ignore_errors=True)
        clear(job)
        run(job, maker)
        digest = hashlib.sha256(WEIGHTS if where == "weights" else b"4").hexdigest()
        path = entry_file(job) if where == "entry" else CACHE / "objects" / digest[:2] / digest
        path.unlink()
        thing(path)
        assert_right(job, maker, 2)
        assert_right(job, maker, 2 if path.is_file() else 3)
        path.is_dir() and not path.is_symlink() and shutil.rmtree(path)
        path.unlink(missing_ok=True)
        thing(path)
        assert_commands_survive()
        assert Path("victim").stat().st_mode & 0o200, "the user's own file stays writable"
        path.is_dir() and not path.is_symlink() and shutil.rmtree(path)
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "folder",
    ["", "entries", "objects", "locks", "entries of the job", "objects of the weights", "objects of the result"],
)
def test_a_folder_of_the_cache_that_is_a_link_is_not_followed(job, folder):
    maker = Maker()
    run(job, maker)
    digests = {"weights": WEIGHTS, "result": b"4"}
    kind, _, what = folder.partition(" of the ")
    path = CACHE / kind
    if what:
        path /= job.key[:2] if what == "job" else hashlib.sha256(digests[what]).hexdigest()[:2]
    shutil.rmtree(path)
    linked_folder(path)
    assert_right(job, maker, 1 if folder == "locks" else 2)
    assert_commands_survive()
    assert path.is_symlink()


def test_a_location_that_is_a_link_is_the_users_own_choice(job, monkeypatch):
    Path("elsewhere").mkdir()
    Path("linked").symlink_to("elsewhere")
    monkeypatch.setenv("DISTILLERY_CACHE", "linked")
    maker = Maker()
    run(job, maker)
    clear(job)
    run(replace(job), maker)
    assert maker.runs == 1


@pytest.mark.parametrize("thing", ["FIFO", "folder", "link to a file of the user", "hard link to a file of the user"])
def test_a_lock_that_is_no_lock_file_is_neither_written_nor_waited_for(job, thing):
    maker = Maker()
    (CACHE / "locks").mkdir(parents=True)
    THINGS[thing](CACHE / "locks" / job.key)
    assert_right(job, maker, 1)


@pytest.mark.parametrize("output", ["folder", "result"])
def test_an_output_that_was_replaced_by_a_link_is_replaced_and_what_it_led_to_stays(job, output):
    maker = Maker()
    run(job, maker)
    clear(job)
    elsewhere = Path("elsewhere").absolute()
    elsewhere.mkdir()
    (elsewhere / "mine").write_bytes(VICTIM)
    job.outputs[output].symlink_to(elsewhere if output == "folder" else elsewhere / "mine")
    before = outside()
    run(replace(job), maker)
    assert outside() == before and maker.runs == 1
    assert job.outputs["result"].read_text() == "4" and not job.outputs[output].is_symlink()


def test_an_object_that_another_may_change_is_copied_and_not_linked(job):
    maker = Maker()
    run(job, maker)
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    stored = CACHE / "objects" / digest[:2] / digest
    stored.unlink()
    stored.write_bytes(WEIGHTS)
    stored.chmod(0o666)
    assert_right(job, maker, 1)
    restored = job.outputs["folder"] / "deep" / "weights.bin"
    assert not restored.samefile(stored)


def test_an_entry_cannot_use_up_the_disk_with_one_file_many_times(job, monkeypatch):
    """A file of another mode is copied: 9,000 copies of it would be a thousand times what the cache holds."""
    maker = Maker()
    run(job, maker)
    digest = hashlib.sha256(WEIGHTS).hexdigest()
    (CACHE / "objects" / digest[:2] / digest).chmod(0o644)
    path = entry_file(job)
    entry = json.loads(path.read_text())
    files_of(entry).update({f"f{n}": files_of(entry)["deep/weights.bin"] for n in range(9_000)})
    path.write_text(json.dumps(entry))

    class Space:
        f_bavail, f_frsize = 1, 1 << 20

    monkeypatch.setattr("distillery.jobs.cache.os.statvfs", lambda _: Space)
    # 63 MB are as much as an honest entry may ask for beside what the cache holds; 1 MB is free.
    with pytest.raises(UserError, match="the disk is full"):
        run(replace(job), maker)
    files_of(entry).update({f"g{n}": files_of(entry)["deep/weights.bin"] for n in range(900)})
    path.write_text(json.dumps(entry))
    assert_right(job, maker, 2)


def test_what_the_user_may_not_remove_is_reported_and_ends_no_command(job, monkeypatch):
    run(job, Maker())
    entry_file(job).write_text("{}")
    monkeypatch.setattr("distillery.jobs.cache_folders.os.unlink", _refused)
    ended = CliRunner().invoke(app, ["cache", "verify"])
    assert ended.exit_code == 1 and "no permission" in ended.output


def _refused(*_args: object, **_options: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_the_outputs_that_are_folders_are_those_of_that_name():
    """What an entry may restore as a folder follows from the name of the output, since a script does not know it."""
    text = "".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    folders = re.findall(r'(\w+)=directory\("[^".]+"\),', text)
    assert len(folders) == text.count("directory(") == text.count("folder=") > 0 and set(folders) == {FOLDER}


leaf = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["../../victim", "/victim", "a/../b", SHA_OF_VICTIM, "\ud800", "0" * 64, -1, 2**80])
)
value = st.recursive(
    leaf, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=6), below, max_size=3)
)


def places(node: object, path: tuple = ()) -> list[tuple]:
    """Paths to every value of a document."""
    found = [path] if path else []
    if isinstance(node, dict | list):
        for key, below in node.items() if isinstance(node, dict) else enumerate(node):
            found += places(below, (*path, key))
    return found


@pytest.mark.reliability("shared-cache", cases=100)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_an_entry_gives_the_right_bytes_or_a_computed_job(job, data):
    """Values replaced, removed, renamed or doubled at random places: where the job's outputs are concerned."""
    document, path, maker = json.loads(stored_once(job, Maker())), entry_file(job), Maker()
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.sampled_from(places(document)))
        above = document
        for key in where[:-1]:
            above = above[key]
        act = data.draw(st.sampled_from(["replace", "remove", "rename", "add"]))
        if act == "replace":
            above[where[-1]] = data.draw(value)
        elif act == "remove":
            del above[where[-1]]
        elif isinstance(above, dict):
            name = data.draw(st.text(max_size=8) | st.sampled_from(["../../victim", "/victim", "deep/..", "a\0"]))
            above[name] = above[where[-1]]
            act == "rename" and name != where[-1] and above.pop(where[-1])
        if not places(document):
            break
    path.write_text(json.dumps(document), encoding="utf-8")
    before = outside()
    clear(job)
    run(replace(job), maker)
    weights = (job.outputs["folder"] / "deep" / "weights.bin").read_bytes() if maker.runs else None
    assert job.outputs["result"].read_text() in {"4", "{}"} and weights in {None, WEIGHTS}
    assert outside() == before
    if not maker.runs:  # a valid entry still: all that it names lies inside the folder, with the bytes that it names
        files = {str(file.relative_to("out/model")): file for file in Path("out/model").rglob("*") if file.is_file()}
        named = files_of(json.loads(path.read_text()))
        assert {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()} == {
            name: fields["sha256"] for name, fields in named.items()
        }


@pytest.mark.reliability("shared-cache", cases=100)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_an_entrys_bytes_gives_the_right_bytes_or_a_computed_job(job, data):
    text, maker = bytearray(stored_once(job, Maker()).encode()), Maker()
    for _ in range(data.draw(st.integers(1, 4))):
        start = int(data.draw(st.floats(0, 1)) * len(text))
        text[start : start + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    entry_file(job).write_bytes(text)
    before = outside()
    clear(job)
    run(replace(job), maker)
    assert job.outputs["result"].read_text() == "4" and outside() == before


@pytest.mark.reliability("shared-cache", cases=24)
def test_a_forecast_survives_hostile_records(job):
    """`distillery plan` reads the records of all entries for its rates."""
    run(job, Maker())
    path = entry_file(job)
    entry = json.loads(path.read_text())
    counts = [
        {"seconds": "long", "generated": 3, "tokens": 3},
        {"steps": [], "tokens": {}, "seconds": 1, "parameters": "many"},
        {"seconds": 1, "tokens": 3, "generated": 3, "steps": 3, "requested": -1, "parameters": -5},
        {"seconds": 1, "tokens": 3, "generated": 3, "steps": 3, "requested": 9, "parameters": None},
    ]
    lies = [
        {"train": {"batch_size": 0}, "spec": 1, "sampler": []},
        {"spec": {"decoding": {"max_new_tokens": -32}}},
    ]
    for stage in ("train", "sample", "search"):
        params = {"train": {"batch_size": 2}, "sampler": "a", "spec": {"decoding": {"max_new_tokens": 8}, "steps": {}}}
        node = Node(stage, Job(stage, {}, {"out": Path("out")}, params), True, "")
        for work in counts:
            for lie in lies:
                entry["stage"] = stage
                entry["record"].update(work=work, params=lie, stage=stage, inputs={"questions": ["/dev/zero"]})
                path.write_text(json.dumps(entry))
                rates = Rates.of(Path("none"), ArtifactCache.from_environment())
                assert len(rates.records) == 1
                forecast = Forecast(node, JobStatus.COMPUTED)
                rates.seconds(forecast, 5, 100)
                rates.tokens_per_unit(forecast)


def test_reading_many_entries_keeps_no_file_open(job):
    run(job, Maker())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        assert_commands_survive()
    assert len(os.listdir("/proc/self/fd")) <= before + 2
