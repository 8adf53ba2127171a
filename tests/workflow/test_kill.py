"""Killed at random moments, started again: the records end as in an undisturbed run, and no sample is paid for twice.

SIGKILL, with the production scripts. The victims are forked from a process that has imported the heavy libraries, so
that the moments fall into the work and not into its imports.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.kill, pytest.mark.reliability("kill")]

KILLS = 20

VICTIM = '''
"""Kill a job at random moments until it was killed often enough, then let it end. Prints one JSON line."""
import contextlib, importlib.util, json, os, random, signal, sys, time
from pathlib import Path

stage, record, kills, seed, watched, longest = sys.argv[1:]
if stage == "sample":
    import vllm, torch, transformers
    import distillery.sampling.sampler, distillery.sampling.store
    distillery.sampling.store.UNIT_COMPLETIONS = 4
else:
    import torch, trl
    import dataclasses
    import distillery.training.train as training
    train_model = training.train_model
    often = training.MachineOptions(checkpoint_steps=2)
    training.train_model = lambda rows, job: train_model(rows, dataclasses.replace(job, machine=often))
from distillery.jobs.job import job_of_record
from distillery.jobs.runner import run

spec = importlib.util.spec_from_file_location(stage, f"workflow/scripts/{stage}.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
job = job_of_record(Path(record))

def state():
    found = set()  # os.walk passes over folders that vanish meanwhile
    for folder, _, files in os.walk(watched):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                found.add((folder, name, os.stat(os.path.join(folder, name)).st_mtime_ns))
    return found

def attempt(kill_after):
    """Run the job in a fork; kill it so many seconds after its first new file, or never. True when it ended."""
    before = state()
    child = os.fork()
    if child == 0:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        try:
            run(job, script.main)
        except BaseException:
            import traceback; traceback.print_exc(); os._exit(1)
        os._exit(0)
    begun = None
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert status == 0, status
            return True
        if begun is None and state() != before:
            begun = time.monotonic()
        if kill_after is not None and begun is not None and time.monotonic() - begun >= kill_after:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.002)

draw = random.Random(int(seed))
done = ended = 0
while done < int(kills) and not ended:
    ended = attempt(draw.uniform(0, float(longest)))
    done += not ended
if not ended:
    attempt(None)
print(json.dumps({"kills": done}))
'''


def victim(project, stage: str, record: str, watched: str, longest: float, seed: int) -> int:
    """Kill a job of a finished project over and over; how often it was killed before it could end."""
    (project.root / "victim.py").write_text(VICTIM)
    done = subprocess.run(
        [sys.executable, "victim.py", stage, record, str(KILLS), str(seed), watched, str(longest)],
        cwd=project.root,
        env={
            **os.environ,
            "PYTHONPATH": str(project.root / "workflow"),
            "DISTILLERY_CACHE": "off",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_LOGGING_LEVEL": "ERROR",
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "2",
        },
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])["kills"]


def test_sampling_killed_at_random_moments_ends_with_the_same_records_and_pays_once(finished):
    import pyarrow.parquet as pq

    finished.edit("config/samplers/tiny-few-shot.yaml", "samples: 2", "samples: 100")
    folder = finished.root / "results/completions/tiny/train/tiny-few-shot"
    finished.run(str(folder.relative_to(finished.root) / "completions.jsonl"), DISTILLERY_STORE="undisturbed")
    undisturbed = (folder / "completions.jsonl").read_bytes()
    os.environ["DISTILLERY_STORE"] = "disturbed"
    try:
        record = str((folder / "provenance.json").relative_to(finished.root))
        kills = victim(finished, "sample", record, "disturbed", longest=0.08, seed=1)
    finally:
        del os.environ["DISTILLERY_STORE"]
    assert kills >= KILLS
    assert (folder / "completions.jsonl").read_bytes() == undisturbed
    keys = [
        key
        for unit in sorted((finished.root / "disturbed").rglob("*.parquet"))
        for key in pq.read_table(unit)["key"].to_pylist()
    ]
    assert len(keys) == len(set(keys)) == 600, "a sample was drawn twice, or is missing"


def test_training_killed_at_random_moments_ends_with_the_same_weights(finished):
    finished.change_yaml("config/setups.yaml", lambda setups: setups["tiny"]["train"].update(epochs=160))
    folder = finished.root / "results/models/tiny/tiny/fine-tune-cot/tiny-random-half/seed1"
    finished.run(str((folder / "manifest.json").relative_to(finished.root)))
    undisturbed = json.loads((folder / "manifest.json").read_text())
    record = str((folder / "provenance.json").relative_to(finished.root))
    assert victim(finished, "train", record, "work/train", longest=0.2, seed=2) >= KILLS
    assert json.loads((folder / "manifest.json").read_text()) == undisturbed, "digests of the weights are in it"


def test_a_main_process_killed_at_random_moments_needs_no_cleaning_and_ends_with_the_same_records(
    project, finished_template
):
    draw = random.Random(3)
    for _ in range(KILLS):
        main = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "2"],
            cwd=project.root,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(draw.uniform(1.5, 9.0))
        if draw.random() < 0.5:
            os.killpg(main.pid, signal.SIGKILL)  # the jobs die with it
        else:
            main.kill()  # the jobs live on, and the next run meets them
        main.wait()
    project.run()
    assert project.planned() == {}
    assert project.records() == finished_template.records()


def test_two_workflows_that_share_store_and_cache_do_not_disturb_each_other(project, finished_template, tmp_path):
    """At the same time, from nothing: each job is computed by one of them, and both end with the same records."""
    import re
    import shutil

    other = project.root.parent / "other"
    shutil.copytree(project.root, other)
    shared = {"DISTILLERY_STORE": str(tmp_path / "store"), "DISTILLERY_CACHE": str(tmp_path / "cache")}
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "1"],
            cwd=root,
            env={**os.environ, **shared, "CUDA_VISIBLE_DEVICES": "", "DISTILLERY_TERMINAL": "INFO"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for root in (project.root, other)
    ]
    told = [run.communicate(timeout=900)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told[0][-3000:] + told[1][-3000:]
    computed = sum(len(re.findall(r"distillery\.jobs\.runner: [a-z_]+ computed", text)) for text in told)
    assert computed == 23, "a job was computed twice, or by nobody"
    wanted = finished_template.records()
    assert project.records() == wanted
    assert type(project)(Path(other)).records() == wanted
