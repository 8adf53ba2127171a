"""A run says in one line for each job what it does and when it should end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distillery.planning.progress import Progress, read_forecast

LIBRARY = Path(__file__).parents[3] / "workflow"
NOON = time.mktime((2026, 11, 24, 12, 0, 0, 0, 0, -1))
WILDCARDS = {"task": "arithmetic", "setup": "miniature", "recipe": "pad", "model": "m", "seed": "3"}


def test_a_line_names_stage_arm_and_expected_end():
    progress = Progress({"results/b": 170.0})
    progress.done, progress.total = 7, 55
    line = progress.started("train", WILDCARDS, ["results/a", "results/b"], NOON)
    assert line.split() == ["12:00:00", "7", "of", "55", "done", "train", "pad,", "m,", "seed", "3", "until", "12:02"]


@pytest.mark.parametrize("forecast", [{}, {"results/a": 4.9}, {"results/other": 600.0}])
def test_a_short_job_and_an_unknown_one_have_no_end(forecast):
    assert "until" not in Progress(forecast).started("score", WILDCARDS, ["results/a"], NOON)


def test_a_job_about_the_task_alone_names_it():
    assert Progress({}).started("questions", {"task": "arithmetic"}, ["x"], NOON).endswith("arithmetic")


@pytest.mark.parametrize("content", ["", "[]", '{"a": "x"}', "\ud83d", None])
def test_a_damaged_forecast_stops_nothing(tmp_path, content):
    if content is not None:
        (tmp_path / "forecast.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    assert read_forecast(tmp_path / "forecast.json") == {}


SNAKEFILE = """
rule all:
    input: "good.txt", "bad.txt"
rule fine:
    output: "good.txt"
    priority: 1
    shell: "echo $DISTILLERY_TERMINAL > good.txt"
rule broken:
    output: "bad.txt"
    shell: "exit 3"
"""


def test_snakemake_prints_a_line_for_each_job_and_the_whole_error(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "work").mkdir()
    (tmp_path / "work/forecast.json").write_text('{"good.txt": 90}')
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--logger", "distillery"]
    ran = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(LIBRARY)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 1
    lines = ran.stderr.splitlines()
    starts = [line.split() for line in lines if " done   " in line]
    assert [(words[5], "until" in words) for words in starts] == [("fine", True), ("broken", False)]
    assert "Error in rule broken:" in lines
    assert (tmp_path / "good.txt").read_text() == "WARNING\n", "jobs keep their milestones to the log file"
    assert len(lines) < 25
