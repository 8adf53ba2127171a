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
    input: "good.txt", "bad.txt", expand("{kind}.made", kind=["refused", "slipped", "killed", "left", "made"])
rule fine:
    output: "good.txt"
    priority: 1
    shell: "echo x > good.txt"
rule broken:
    output: "bad.txt"
    shell: "exit 3"
rule noisy:
    output: made="{kind}.made"
    log: "logs/{kind}.log"
    params: kind=lambda wildcards: wildcards.kind
    script: "noisy.py"
"""

NOISY = """
import ctypes, logging, os, signal, subprocess, sys, warnings
from pathlib import Path
from tqdm import tqdm
from distillery.errors import UserError
from distillery.jobs.runner import run_script

def main(made, kind):
    print("NOISE 1")
    print("NOISE 2", file=sys.stderr)
    os.write(1, b"NOISE 3\\n")
    subprocess.run(["sh", "-c", "echo NOISE 4; echo NOISE 5 >&2"], check=True)
    ctypes.CDLL(None).puts(b"NOISE 6")
    warnings.warn("NOISE 7", FutureWarning)
    for _ in tqdm(range(1), desc="NOISE 8"):
        pass
    logging.getLogger("distillery.stage").info("NOISE 9")
    exec(compile("import logging; logging.getLogger('library').warning('NOISE 10')", subprocess.__file__, "exec"))
    logging.getLogger("distillery.stage").warning("the GPU of %s is not used", kind)
    if kind == "refused":
        raise UserError("too large", file="config/x.yaml", key="size", value=3, remedy="Lower it")
    if kind == "slipped":
        raise RuntimeError("a slip")
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "left":
        sys.exit("a library left")
    made.write_text("x")

run_script("noisy", main, globals())
"""
NOISES = [f"NOISE {number}" for number in range(1, 11)]
FATES = {
    "refused": ["config/x.yaml: size = 3: too large. Lower it"],
    "slipped": ["RuntimeError: a slip"],
    "killed": ["died with <Signals.SIGKILL: 9>", "NOISE 6"],
    "left": ["a library left"],
    "made": [],
}
"""What the terminal says of each job, once."""


def run_noisy(folder, *options):
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "noisy.py").write_text(NOISY)
    (folder / "work").mkdir()
    (folder / "work/forecast.json").write_text('{"good.txt": 90}')
    command = [sys.executable, "-m", "snakemake", "--cores", "4", "--keep-going", *options]
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY), "DISTILLERY_CACHE": "off"}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1
    return ran.stdout + ran.stderr


def test_snakemake_prints_a_line_for_each_job_and_each_error_once(tmp_path):
    said = run_noisy(tmp_path, "--logger", "distillery")
    lines = said.splitlines()
    starts = {words[5]: "until" in words for words in map(str.split, lines) if words[4:5] == ["done"]}
    assert starts == {"fine": True, "broken": False, "noisy": False}
    assert "Error in rule broken:" in lines, "a rule without a log keeps Snakemake's block"
    failed = [line.split() for line in lines if "FAILED" in line]
    logs = {kind: f"logs/{kind}.log" for kind in FATES if kind != "made"}
    assert {words[3]: words[-1] for words in failed} == logs and len(failed) == len(logs)
    for kind, expected in FATES.items():
        assert all(said.count(text) >= 1 for text in expected), kind
        assert said.count(f"the GPU of {kind} is not used") == (2 if kind in {"killed", "left"} else 1)
    for text in ("too large", "RuntimeError: a slip", "a library left", "SIGKILL"):
        assert said.count(text) == 1, text


def test_a_plain_run_of_snakemake_shows_no_noise_of_libraries_and_the_logs_have_all(tmp_path):
    said = run_noisy(tmp_path)
    assert "NOISE" not in said
    for kind, expected in FATES.items():
        log = (tmp_path / f"logs/{kind}.log").read_text(encoding="utf-8")
        assert [noise for noise in NOISES if noise not in log] == []
        assert log.count("the GPU of") == said.count(f"the GPU of {kind} is not used") == 1
        assert all(text in log for text in expected if "died" not in text)
    assert said.count("too large") == said.count("RuntimeError: a slip") == 1


@pytest.mark.parametrize(("level", "shown"), [(None, "bc"), ("info", "abc"), ("ERROR", "c")])
def test_messages_of_the_level_that_a_user_names_reach_the_terminal(tmp_path, level, shown):
    code = (
        "import logging; from pathlib import Path; from distillery.logs import log_to; log_to(Path('log'))\n"
        "ours = logging.getLogger('distillery.x'); ours.info('<a>'); ours.warning('<b>'); ours.error('<c>')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DISTILLERY_TERMINAL"}
    environment |= {"PYTHONPATH": str(LIBRARY)} | ({"DISTILLERY_TERMINAL": level} if level else {})
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "".join(letter for letter in "abc" if f"<{letter}>" in ran.stderr) == shown
    assert all(f"<{letter}>" in (tmp_path / "log").read_text() for letter in "abc")
