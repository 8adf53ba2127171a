"""What a job writes about itself, and how a script finds its job: each field written out."""

import getpass
import json
import os
import platform
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from distillery.errors import UserError
from distillery.files import sha256_file
from distillery.jobs import provenance as records
from distillery.jobs import runner
from distillery.jobs.analyses import Analyses
from distillery.jobs.job import Job, job_of_record
from distillery.jobs.provenance import placed, provenance
from distillery.jobs.runner import run, run_script, set_threads


def double(number: Path, result: Path, factor: int) -> dict[str, int]:
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(str(factor * int(number.read_text())))
    return {"numbers": 1}


def test_a_record_has_every_fact_of_its_job(job, monkeypatch):
    monkeypatch.setattr(records, "definition_digests", lambda stage: {f"of {stage}": "d"})
    monkeypatch.setattr(records, "_commit", lambda: "abc-dirty")
    monkeypatch.setitem(sys.modules, "trl", SimpleNamespace(__version__="1.2"))
    for name in ("torch", "transformers", "peft", "vllm", "datasets", "pandas", "pyarrow", "altair"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    Path("out").mkdir()
    Path("out/result.txt").write_text("4")
    wide = replace(job, inputs={**job.inputs, "many": [Path("in.txt")]}, threads=3, gpus=2)
    started = datetime(2026, 1, 2, 3, 4, 5, 600_000, UTC)
    finished = datetime(2026, 1, 2, 3, 4, 7, 123_456, UTC)
    digest = sha256_file(Path("in.txt"))
    assert provenance(wide, started, finished, {"tokens": 5}) == {
        "stage": "multiply", "key": wide.key,
        "inputs": {"number": ["in.txt"], "many": ["in.txt"]}, "many": {"number": False, "many": True},
        "outputs": {"result": "out/result.txt", "provenance": "out/provenance.json"},
        "input_digests": {"number": [digest], "many": [digest]},
        "output_digests": {"result": sha256_file(Path("out/result.txt"))},
        "params": {"factor": 2, "code": "abc", "libraries": {}}, "definitions": {"of multiply": "d"}, "threads": 3,
        "gpus": 2, "work": {"tokens": 5}, "commit": "abc-dirty", "python": platform.python_version(),
        "libraries": {"trl": "1.2"}, "host": platform.node(), "user": getpass.getuser(),
        "started": "2026-01-02T03:04:05+00:00", "finished": "2026-01-02T03:04:07+00:00", "seconds": 1.52,
    }  # fmt: skip
    assert provenance(job, started, finished, None)["work"] == {}


def test_the_commit_says_whether_files_differ_from_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert records._commit() is None
    for command in (
        "init -q",
        "-c user.name=a -c user.email=a@b -c commit.gpgsign=false commit -q --allow-empty -m first",
    ):
        subprocess.run(["git", *command.split()], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert records._commit() == commit and len(commit) == 40
    Path("file").write_text("a")
    subprocess.run(["git", "add", "file"], check=True)
    assert records._commit() == f"{commit}-dirty"
    monkeypatch.setenv("PATH", "")
    assert records._commit() is None


def named(**values) -> SimpleNamespace:
    return SimpleNamespace(**values, items=lambda: values.items())


def test_the_job_of_a_script_is_what_snakemake_hands_to_it():
    given = SimpleNamespace(
        input=named(rows="a.jsonl", shards=["b", "c"], checked="check.json"), output=named(result="out/r"),
        params=named(seed=1, code="abc"), threads=4, resources={"gpu": "2"}, log=["logs/a.log"],
    )  # fmt: skip
    job = Job.from_snakemake(given, "train")
    assert job == Job(
        "train", {"rows": Path("a.jsonl"), "shards": [Path("b"), Path("c")]}, {"result": Path("out/r")},
        {"seed": 1, "code": "abc"}, threads=4, gpus=2, log=Path("logs/a.log"),
    )  # fmt: skip
    bare = SimpleNamespace(input=named(), output=named(), params=named(), threads=1, resources={}, log=[])
    assert Job.from_snakemake(bare, "x") == Job("x", {}, {}, {}, threads=1, gpus=0, log=None)


def test_a_record_gives_back_its_job(job):
    wide = replace(job, inputs={**job.inputs, "many": [Path("in.txt")]}, threads=3, gpus=2)
    record = {**placed(wide), "stage": wide.stage, "params": dict(wide.params), "threads": 3, "gpus": 2}
    Path("record.json").write_text(json.dumps(record))
    assert job_of_record(Path("record.json")) == wide


def test_progress_lies_in_the_folder_of_the_job_below_the_work_folder(job, monkeypatch):
    monkeypatch.delenv("DISTILLERY_WORK", raising=False)
    assert job.progress == Path("work") / "multiply" / job.key
    monkeypatch.setenv("DISTILLERY_WORK", "/elsewhere")
    assert job.progress == Path("/elsewhere") / "multiply" / job.key


def test_a_script_runs_for_snakemake_by_hand_or_not_at_all(job, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(runner, "run", lambda job, main: ran.append(job))
    monkeypatch.setattr(runner, "log_to", lambda log: ran.append(log))
    run_script("multiply", double, {"__name__": "imported"})
    assert ran == []
    monkeypatch.setattr(sys, "argv", ["folder/script.py"])
    with pytest.raises(SystemExit, match=r"^usage: script\.py <provenance\.json of a job of this stage>$"):
        run_script("multiply", double, {"__name__": "__main__"})
    Path("record.json").write_text(
        json.dumps({**placed(job), "stage": "multiply", "params": {}, "threads": 1, "gpus": 0})
    )
    monkeypatch.setattr(sys, "argv", ["script.py", "record.json"])
    run_script("multiply", double, {"__name__": "__main__"})
    assert ran == [None, job_of_record(Path("record.json"))]
    given = SimpleNamespace(input=named(), output=named(), params=named(), threads=1, resources={}, log=["a.log"])
    run_script("multiply", double, {"snakemake": given, "__name__": "__main__"})
    assert ran[2:] == [Path("a.log"), Job.from_snakemake(given, "multiply")]


def test_a_fault_of_the_user_ends_a_script_with_status_one_and_its_message(monkeypatch, caplog):
    def refuse(job, main):
        raise UserError("no such thing", key="a.b", value=3)

    monkeypatch.setattr(runner, "run", refuse)
    monkeypatch.setattr(runner, "log_to", lambda log: None)
    given = SimpleNamespace(input=named(), output=named(), params=named(), threads=1, resources={}, log=[])
    with pytest.raises(SystemExit) as caught:
        run_script("multiply", double, {"snakemake": given})
    assert caught.value.code == 1 and "a.b = 3: no such thing" in caplog.text


def test_threads_are_told_to_every_numeric_library_and_a_users_own_choice_stays(monkeypatch):
    for name in ("OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM"):
        monkeypatch.delenv(name, raising=False)
    set_threads(3)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM")
    assert [os.environ[name] for name in names] == ["3", "3", "3", "PASSIVE", "false"]
    os.environ["OMP_WAIT_POLICY"] = "ACTIVE"
    set_threads(1)
    assert (os.environ["OMP_NUM_THREADS"], os.environ["OMP_WAIT_POLICY"]) == ("1", "ACTIVE")


def test_a_restored_job_keeps_the_facts_of_the_computed_one_with_its_own_places(job, tmp_path, monkeypatch):
    monkeypatch.setenv("DISTILLERY_CACHE", str(tmp_path / "cache"))
    run(job, double)
    first = json.loads(Path("out/provenance.json").read_text())
    elsewhere = replace(job, outputs={"result": Path("new/r.txt"), "provenance": Path("new/provenance.json")})
    elsewhere.progress.mkdir(parents=True)
    run(elsewhere, lambda **given: pytest.fail("it is computed again"))
    second = json.loads(Path("new/provenance.json").read_text())
    assert Path("new/r.txt").read_text() == "4" and not elsewhere.progress.exists()
    restored = datetime.fromisoformat(second.pop("restored"))
    assert restored.tzinfo is not None and restored.microsecond == 0
    assert second == {**first, "outputs": {"result": "new/r.txt", "provenance": "new/provenance.json"}}
    assert (first["work"], first["seconds"] >= 0) == ({"numbers": 1}, True)


def test_analyses_are_kept_by_content_and_version_and_written_where_something_changed(tmp_path):
    with Analyses(tmp_path) as analyses:
        found = analyses.of(b"x = 1\n", "a", False)
        assert analyses.of(b"x = 1\n", "a", False) is found
    path = tmp_path / f"definitions.{sys.implementation.cache_tag}.json"
    written = path.read_bytes()
    assert len(json.loads(written)["modules"]) == 1
    path.chmod(0o400)
    stamp = path.stat().st_mtime_ns
    with Analyses(tmp_path) as analyses:
        assert analyses.of(b"x = 1\n", "a", False) == found
    assert path.stat().st_mtime_ns == stamp, "nothing is written where nothing changed"
    kept = json.loads(written)
    for parts in kept["modules"].values():
        parts["imports"] = ["kept"]
    path.chmod(0o600)
    path.write_text(json.dumps(kept))
    with Analyses(tmp_path) as analyses:
        assert analyses.of(b"x = 1\n", "a", False).imports == ("kept",)
        others = [analyses.of(b"x = 2\n", "a", False), analyses.of(b"x = 1\n", "b", False),
                  analyses.of(b"x = 1\n", "a", True)]  # fmt: skip
        assert all(other.imports == found.imports for other in others)
    assert len(json.loads(path.read_bytes())["modules"]) == 4
    for damaged in ({**kept, "version": "other"}, {"version": kept["version"]}, [], {**kept, "modules": {"a": 1}}):
        path.write_text(json.dumps(damaged))
        with Analyses(tmp_path) as analyses:
            assert analyses.of(b"x = 1\n", "a", False) == found
