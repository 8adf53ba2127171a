"""`distillery cache` and `store`: counts, checks, what may go, and slices of the store."""

import os
import shutil
from pathlib import Path

import pytest

CELL = "arithmetic/test/miniature/pad/smollm2-135m-26-layers/seed1"
PREDICTIONS = Path("results/predictions", CELL, "predictions.jsonl")
ENTRIES, OBJECTS = Path("work/cache/v1/entries"), Path("work/cache/v1/objects")


def first_cells(output: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in output.splitlines() if line.split()}


def age(folder: Path, days: int) -> None:
    """Make files look as if they were used so long ago."""
    for path in folder.rglob("*"):
        before = path.stat().st_mtime - days * 86400
        os.utime(path, (before, before))


def test_the_cache_counts_its_entries_by_stage(small, command):
    cells = first_cells(command("cache", "stats").output)
    stages = {"base_model", "compose", "questions", "sample", "score", "tables", "train"}
    assert {stage: cells[stage][0] for stage in stages} == dict.fromkeys(stages, "1")


def test_a_changed_object_is_found_removed_and_reported(small, command):
    assert command("cache", "verify").output == "every object is whole\n"
    damaged = next(OBJECTS.glob("*/*"))
    damaged.chmod(0o644)
    damaged.write_text("changed")
    output = command("cache", "verify", fails=True).output
    assert damaged.name in output and not damaged.exists()
    assert command("cache", "verify").output == "every object is whole\n"


def test_cache_gc_keeps_what_tables_come_from_and_drops_old_entries_only_on_request(small, command):
    shutil.rmtree("results/tables")
    shutil.rmtree("results/scores")
    assert command("cache", "gc").output.startswith("0 entries would go"), "all were used lately"
    age(ENTRIES, 40)
    assert command("cache", "gc").output.startswith("7 entries would go"), "no table is left that needs them"
    assert len(list(ENTRIES.rglob("*.json"))) == 7
    assert command("cache", "gc", "--older-than", "50d", "--yes").output.startswith("0 entries")
    objects = sorted(OBJECTS.glob("*/*"))
    assert command("cache", "gc", "--yes").output == "7 entries, 0 objects and 0 B removed\n"
    assert not list(ENTRIES.rglob("*.json")) and sorted(OBJECTS.glob("*/*")) == objects, "young ones may be in use"


def test_cache_gc_keeps_every_job_behind_a_table(small, command):
    age(ENTRIES, 40)
    assert "0 entries would go" in command("cache", "gc").output
    assert "7 are needed" in command("cache", "gc").output


def test_a_cache_that_is_off_has_nothing_to_look_after(small, command, monkeypatch):
    for name in ("stats", "verify", "gc"):
        assert "the cache is switched off" in command("cache", name, "--cache", "off", fails=True).output
    monkeypatch.setenv("DISTILLERY_CACHE", "off")
    for name in ("stats", "verify", "gc"):
        assert "the cache is switched off" in command("cache", name, fails=True).output


@pytest.mark.parametrize("text", ["30", "d", "3w", "-1d"])
def test_an_age_that_is_none_is_refused(small, command, text):
    assert "Write it like 30d" in command("cache", "gc", f"--older-than={text}", fails=True).output


def test_the_store_counts_completions_by_series_within_80_columns(small, command):
    output = command("store", "stats").output
    (cells,) = [line.split()[1:6] for line in output.splitlines() if line.endswith(" kB")]
    assert cells == ["8", "24", "1", "0", "0"]
    assert "trained for 6 steps, T=0.5, 8 tokens" in output
    assert "8 completions in work/completions" in output and "…" not in output


def test_a_damaged_unit_is_named(small, command):
    assert command("store", "verify").output == "every unit is whole\n"
    (unit,) = [path for path in Path("work/completions").rglob("*") if path.is_file() and path.suffix == ".parquet"]
    unit.chmod(0o644)
    unit.write_bytes(unit.read_bytes()[:-10])
    output = command("store", "verify", fails=True).output
    assert unit.name in output and "generated again" in output


def test_a_slice_brings_completions_to_another_store_and_a_changed_one_does_not(small, command, tmp_path):
    output = command("store", "export", "slice.zip", "--results", "results").output
    assert output.startswith("8 completions in slice.zip")
    digest = output.split("digest ")[1].split(":")[0]
    other = tmp_path / "other"
    assert "8 completions in the slice, 8 added" in command("store", "import", "slice.zip", "--store", other).output
    again = command("store", "import", "slice.zip", "--store", other, "--digest", digest).output
    assert "8 completions in the slice, 0 added" in again and "--digest" not in again
    command("store", "import", "slice.zip", "--store", other, "--digest", "0" * 64, fails=True)
    assert "8 completions in" in command("store", "stats", "--store", other).output


def test_store_gc_drops_old_completions_that_no_result_names(small, command):
    lines = PREDICTIONS.read_text().splitlines(keepends=True)
    PREDICTIONS.write_text("".join(lines[:5]))
    assert command("store", "gc").output.startswith("0 completions would go"), "all are young"
    assert "3 completions would go" in command("store", "gc", "--older-than", "0s").output
    assert "8 completions in" in command("store", "stats").output
    assert "3 completions removed, 5 stay" in command("store", "gc", "--older-than", "0s", "--yes").output
    assert "5 completions in" in command("store", "stats").output
    assert command("store", "verify").output == "every unit is whole\n"
