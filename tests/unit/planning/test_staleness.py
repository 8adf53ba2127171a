"""Why a result is stale: each component of its key that differs is named, with code by its definitions."""

from pathlib import Path

import pytest

from distillery.jobs.code_digest import definition_digests
from distillery.jobs.job import Job
from distillery.planning.forecast import Forecast, JobStatus
from distillery.planning.snakemake_graph import Node
from distillery.planning.staleness import differences

LOSS = "distillery.training.objectives.mentor_kd.mentor_kd_loss"


@pytest.fixture
def forecast():
    job = Job("train", {"rows": Path("rows.jsonl")}, {"folder": Path("model")}, {"code": "new", "train": {"epochs": 2}})
    return Forecast(Node("train_student", job, planned=True, reason=""), JobStatus.COMPUTED, {"rows": ["b"]})


def record(**changes) -> dict:
    """The record of the job of `forecast` before some changes."""
    return {"params": {"code": "old", "train": {"epochs": 2}}, "input_digests": {"rows": ["b"]}} | changes


def shown(old: dict, forecast: Forecast) -> list[str]:
    return [str(difference) for difference in differences(old, forecast)]


def test_settings_come_before_code_and_code_before_inputs(forecast):
    old = record(
        params={"code": "old", "train": {"epochs": 1}},
        input_digests={"rows": ["a"]},
        definitions={**definition_digests("train"), LOSS: "0" * 16},
    )
    assert shown(old, forecast) == [
        "params.train.epochs: 1 → 2",
        f"code of {LOSS}: changed",
        "input rows: ['a'] → ['b']",
    ]


def test_definitions_are_named_as_changed_added_or_removed(forecast):
    digests = definition_digests("train")
    old = {name: digest for name, digest in digests.items() if name != LOSS}
    assert shown(record(definitions={**old, "distillery.training.gone": "1" * 16}), forecast) == [
        "code of distillery.training.gone: removed",
        f"code of {LOSS}: added",
    ]


def test_a_definition_that_moved_is_not_named(forecast):
    digests = definition_digests("train")
    old = {name: digest for name, digest in digests.items() if name != LOSS}
    moved = {**old, "distillery.training.elsewhere.mentor_kd_loss": digests[LOSS], "train.main": "0" * 16}
    assert shown(record(definitions=moved), forecast) == ["code of train.main: changed"]


def test_code_that_changed_in_no_definition_is_named_all_the_same(forecast):
    assert shown(record(definitions=definition_digests("train")), forecast) == ["code: old → new"]


def test_a_record_that_names_files_still_says_which_changed(forecast):
    files = {"training/losses.py": "0" * 16, "training/gone.py": "1" * 16, "train.py": "2" * 16}
    assert shown(record(modules=files), forecast) == [
        "code of module training/losses.py: changed",
        "code of module training/gone.py: removed",
        "code of module train.py: changed",
    ]


def test_a_file_of_such_a_record_that_did_not_change_is_not_named(forecast, monkeypatch, tmp_path):
    """The digest is one that a record of the version before definitions holds for these bytes."""
    (tmp_path / "errors.py").write_text('"""Text."""\n\nX = 1  # remark\n')
    monkeypatch.setattr("distillery.planning.staleness.LIBRARY", tmp_path)
    assert shown(record(modules={"errors.py": "b8a44662aff9666a", "gone.py": "1" * 16}), forecast) == [
        "code of module gone.py: removed"
    ]
