"""`distillery plan`: counts by stage, readable at 80 columns; targets; where its rates come from."""

import json

import pytest

from distillery.jobs.job import Job
from distillery.planning.snakemake_graph import read_graph

JOBS = ("restored", "computed", "depends", "job-seconds")
WORK = ("samples", "at most", "stored", "tokens", "money")
TRAINED = "results/models/arithmetic/miniature/pad/smollm2-135m-26-layers/seed1/manifest.json"
PREDICTIONS = "results/predictions/arithmetic/test/miniature/pad/smollm2-135m-26-layers/seed1/predictions.jsonl"


def rows(output: str) -> dict[str, dict[str, str]]:
    """Stage -> heading -> cell of both tables."""
    found: dict[str, dict[str, str]] = {}
    for line in output.split("Job-seconds are")[0].splitlines():
        stage, *cells = line.split() or [""]
        headings = {len(JOBS): JOBS, len(WORK): WORK}.get(len(cells))
        if headings and cells[0] not in {*JOBS, *WORK}:
            found.setdefault(stage, {}).update(zip(headings, cells, strict=True))
    return found


def test_a_finished_run_is_up_to_date_by_any_kind_of_target(small, command):
    cell = "miniature/pad/smollm2-135m-26-layers/arithmetic/seed1"
    for targets in ([], ["miniature"], ["miniature/pad"], [cell], [PREDICTIONS], [PREDICTIONS, "miniature"]):
        assert "nothing to be done" in command("plan", *targets).output


def test_samples_that_the_store_has_are_not_counted_as_new(small, change, command):
    change(samples=3)
    found = rows(command("plan", "miniature").output)
    assert found["sample"] == {**dict.fromkeys((*JOBS, *WORK), "-"), "computed": "1", "samples": "4", "stored": "8",
                               "job-seconds": found["sample"]["job-seconds"]}  # fmt: skip
    assert found["score"]["depends"] == found["tables"]["depends"] == "1"
    assert found["all"]["samples"] == "4"


def test_a_plan_names_only_what_the_target_needs(small, change, command):
    change(samples=3)
    assert set(rows(command("plan", PREDICTIONS).output)) == {"sample", "all"}


def test_seconds_follow_from_the_records_of_this_machine(small, change, command):
    record = json.loads((small / PREDICTIONS).with_name("provenance.json").read_text())
    change(temperature=0.9)
    output = command("plan", PREDICTIONS).output
    expected = record["seconds"]  # the same number of samples by the same sampler
    assert float(rows(output)["sample"]["job-seconds"]) == pytest.approx(expected, abs=0.06)
    assert "Rates: seconds are measured on this machine." in output and "shipped" not in output


def test_a_first_run_is_forecast_from_shipped_rates_and_says_so(small, command):
    """Nothing has run: rows are expected, the model has no manifest, and its size stands in its name."""
    import shutil

    shutil.rmtree(small / "results")
    shutil.rmtree(small / "work")
    output = command("plan").output
    found = rows(output)
    assert found["train"]["depends"] == "1" and float(found["train"]["job-seconds"]) > 0
    assert int(found["train"]["tokens"]) > 0
    assert found["sample"]["samples"] == "8" and float(found["sample"]["job-seconds"]) > 0
    text = " ".join(output.split())
    assert "Rates: shipped rates for a 2-core CPU, measured 2026-11-24, for all stages: none is measured" in text


def test_a_stage_that_was_not_measured_here_is_named(small, change, command):
    """Sampling was measured here, scoring was not; the record of another machine does not count."""
    change(temperature=0.9, divisor=2)
    for path in (small / "work/cache").rglob("*.json"):
        if "results/scores" in path.read_text():
            path.unlink()
    record = (small / PREDICTIONS.replace("predictions/a", "scores/a")).with_name("provenance.json")
    record.write_text(record.read_text().replace('"host": "', '"host": "not '))
    text = " ".join(command("plan", "miniature/pad").output.split())
    assert "seconds are measured on this machine, but for the stages in the next line." in text
    assert "for score: not measured on this machine yet." in text


def test_what_the_cache_has_is_restored_and_costs_nothing(small, command):
    (small / PREDICTIONS).unlink()
    (small / TRAINED).unlink()
    found = rows(command("plan", PREDICTIONS).output)
    for stage in ("sample", "train"):
        assert found[stage] == {**dict.fromkeys(JOBS, "-"), "restored": "1"}


def test_no_word_of_a_plan_is_broken_or_elided_at_80_columns(small, change, command, monkeypatch):
    change(samples=2500)
    narrow = command("plan", "miniature").output
    monkeypatch.setenv("COLUMNS", "250")
    wide = command("plan", "miniature").output
    assert [word for word in narrow.split() if set(word) != {"─"}] == [
        word for word in wide.split() if set(word) != {"─"}
    ]
    assert "…" not in narrow and max(map(len, narrow.splitlines())) <= 80


def test_unknown_targets_list_the_known_ones_closest_first(small, command):
    unknown = command("plan", "miniature_ablation", fails=True).output
    assert unknown.split("Known: ")[1].split(", ")[:2] == ["miniature_ablations", "miniature"]
    unknown = command("why", "miniature/pda", fails=True).output
    assert unknown.split("Name one of: ")[1].startswith("miniature/arithmetic/pad/smollm2-135m-26-layers/seed1, ")
    unknown = command("why", "results/tables/miniature/tabel.md", fails=True).output
    assert unknown.split("like names: ")[1].startswith("results/tables/miniature/table.md, ")
    assert command("why", "config/config.yaml", fails=True).output.startswith("target = 'config/config.yaml': no job")
    several = command("plan", "miniature/seed1", fails=True).output
    assert "several cells" in several and several.count("miniature/arithmetic/") == 10


def test_a_fault_in_the_settings_is_told_in_one_line(small, command):
    (small / "small.yaml").write_text("temperature: 0.5\n")
    assert command("plan", fails=True).output.startswith("the workflow cannot be planned: ")


def test_the_graph_has_inputs_before_the_jobs_that_read_them(small):
    made = set()
    for node in read_graph():
        inputs = {
            path for paths in node.job.inputs.values() for path in (paths if isinstance(paths, list) else [paths])
        }
        assert inputs <= made and isinstance(node.job, Job)
        made |= set(node.job.outputs.values())
