"""Running a job: its key names all that can change the result, its record says where the result comes from."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.errors import UserError
from distillery.files import atomic_open, sha256_file, write_json
from distillery.jobs.job import Job, job_of_record
from distillery.jobs.runner import run


def double(number: Path, result: Path, factor: int) -> None:
    with atomic_open(result) as out:
        out.write(str(factor * int(number.read_text())))


def test_a_job_leaves_its_output_and_a_record_of_where_it_comes_from(job):
    run(job, double)
    record = json.loads(Path("out/provenance.json").read_text())
    assert Path("out/result.txt").read_text() == "4"
    assert record["key"] == job.key
    assert record["input_digests"] == {"number": [sha256_file(Path("in.txt"))]}
    assert record["output_digests"] == {"result": sha256_file(Path("out/result.txt"))}
    assert record["params"] == {"factor": 2, "code": "abc", "libraries": {}}


def test_a_record_is_enough_to_run_the_job_again_by_hand(job):
    run(job, double)
    again = job_of_record(Path("out/provenance.json"))
    Path("out/result.txt").unlink()
    run(again, double)
    assert again.key == job.key
    assert Path("out/result.txt").read_text() == "4"


def test_an_input_that_changes_while_the_job_runs_fails_it_and_is_named(job):
    def slow(number: Path, result: Path, factor: int) -> None:
        double(number, result, factor)
        number.write_text("3")

    with pytest.raises(UserError, match=r"in\.txt.*changed while the job ran"):
        run(job, slow)
    assert not Path("out/provenance.json").exists()


def test_progress_outlives_a_failed_run_and_only_that(job):
    def failing(number: Path, result: Path, factor: int, progress: Path) -> None:
        found = (progress / "step").exists()
        write_json(progress / "step", 1)
        if not found:
            raise RuntimeError("killed")
        double(number, result, factor)

    with pytest.raises(RuntimeError):
        run(job, failing)
    assert (job.progress / "step").exists()
    run(job, failing)
    assert not job.progress.exists()


def test_an_optional_input_that_a_rule_leaves_empty_is_not_given(job):
    def with_mentor(number: Path, result: Path, factor: int, mentor: Path | None = None) -> None:
        assert mentor is None
        double(number, result, factor)

    run(replace(job, inputs={**job.inputs, "mentor": []}), with_mentor)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
params = st.dictionaries(st.text(max_size=3), values, max_size=3)


def job_with(params: dict) -> Job:
    return Job("stage", {}, {}, params)


@given(params, params)
def test_two_keys_are_equal_exactly_when_the_parameters_are(first, second):
    def form(value):  # 1, 1.0 and true are equal in Python, but not as parameters
        return json.dumps(value, sort_keys=True)

    assert (job_with(first).key == job_with(second).key) == (form(first) == form(second))


@given(params)
def test_threads_logs_gpus_and_places_of_outputs_are_not_in_the_key(some):
    elsewhere = Job("stage", {}, {"result": Path("elsewhere")}, some, threads=8, gpus=2, log=Path("log"))
    assert elsewhere.key == job_with(some).key


def test_the_place_of_an_input_is_not_in_the_key_and_its_content_is(tmp_path):
    for name, text in (("a", "same"), ("b", "same"), ("c", "other")):
        (tmp_path / name).write_text(text)
    keys = {name: Job("stage", {"rows": tmp_path / name}, {}, {}).key for name in "abc"}
    assert keys["a"] == keys["b"] != keys["c"]


def test_a_failed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write() -> None:
        with atomic_open(path) as out:
            out.write("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


names = st.text("abcdefgh", min_size=1, max_size=6)
contents = st.dictionaries(names, st.lists(st.binary(max_size=6), max_size=2), max_size=3)


def placed_job(root: Path, inputs: dict[str, list[bytes]], params: dict, *, where: str, threads: int) -> Job:
    """A job whose inputs have these contents, at paths of its own."""
    files = {}
    for name, texts in inputs.items():
        files[name] = []
        for number, data in enumerate(texts):
            path = root / where / f"{name}-{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            files[name].append(path)
    outputs = {"result": root / where / "result"}
    return Job("stage", files, outputs, params, threads=threads, gpus=threads - 1, log=root / where / "log")


@given(inputs=contents, params=params, threads=st.integers(1, 64))
def test_paths_threads_gpus_and_logs_are_no_part_of_a_key(tmp_path_factory, inputs, params, threads):
    root = tmp_path_factory.mktemp("key")
    here = placed_job(root, inputs, params, where="here", threads=1)
    there = placed_job(root, inputs, params, where="there/deeper", threads=threads)
    assert here.key == there.key


@given(some=contents, other=contents)
def test_the_contents_and_names_of_inputs_are_part_of_a_key(tmp_path_factory, some, other):
    root = tmp_path_factory.mktemp("key")
    first = placed_job(root, some, {}, where="first", threads=1)
    second = placed_job(root, other, {}, where="second", threads=1)
    assert (first.key == second.key) == (some == other)


@given(stage=names, other=names)
def test_the_stage_is_part_of_a_key(stage, other):
    assert (Job(stage, {}, {}, {}).key == Job(other, {}, {}, {}).key) == (stage == other)
