"""Speed, each figure as a ratio to a plain baseline measured in the same run: one JSON line a figure.

    python tests/bench/run.py                 all figures
    python tests/bench/run.py sampling grading

Noisy machines: each side runs several times in turn, and medians are compared.
"""

import argparse
import ast
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY / "workflow"), str(Path(__file__).parent)]

import trainings  # noqa: E402  (beside this file)

Figure = dict[str, Any]


def in_turn(rounds: int, ours: Callable[[], float], baseline: Callable[[], float]) -> tuple[float, float]:
    """Medians of both sides, measured in turn; each call returns its figure."""
    pairs = [(ours(), baseline()) for _ in range(rounds)]
    return statistics.median(mine for mine, _ in pairs), statistics.median(bare for _, bare in pairs)


def sampling() -> Iterator[Figure]:
    """Tokens per second through the stage (store, records) against the engine alone, on the same requests."""
    from distillery.config.model import RandomModel
    from distillery.models.sources import prepare_model
    from distillery.records import Question, write_records
    from distillery.sampling.backends.base import PendingRequest
    from distillery.sampling.backends.vllm import VllmBackend
    from distillery.sampling.requests import Request, Series, seed_of
    from distillery.sampling.sampler import CompletionSampler, sample
    from distillery.sampling.store import CompletionStore

    class Loaded(CompletionSampler):
        """An model_sampler whose engine is loaded already: loading is no part of the figure."""

        def __init__(self, backend: VllmBackend, folder: Path, store: CompletionStore) -> None:
            super().__init__(folder, "bench", "causal", store)
            self._backend = backend

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "model")
        prepare_model(
            RandomModel(kind="random", layers=4, hidden_size=256), folder, parent=None, downloads=Path(scratch)
        )
        backend = VllmBackend(folder)
        questions = [Question(qid=f"q{n:04d}", task="t", question=f"What is {n} + {n}?", gold="1") for n in range(256)]
        decoding = {"temperature": 0.7, "top_p": 1.0, "top_k": 0, "max_new_tokens": 64, "answer_tokens": 8}
        spec = {"prompt": {"prompt": "p", "input": "Q: {{ question }}\nA:"}, "samples": 4}
        seeds = iter(range(1000))

        def ours() -> float:
            run = next(seeds)
            store = CompletionStore(str(Path(scratch, f"store{run}")))
            start = time.perf_counter()
            how = {**spec, "decoding": {**decoding, "seed": run}}
            drawn, counts = sample(questions, [], how, Loaded(backend, folder, store), sampler="bench")
            write_records(Path(scratch, "completions.jsonl"), drawn)
            return counts["completion_tokens"] / (time.perf_counter() - start)

        def engine() -> float:
            series = Series.of("bench", {**decoding, "seed": next(seeds)}, [])
            requests = [Request(f"Q: {q.question}\nA:", index) for q in questions for index in range(4)]
            asked = [PendingRequest(request.key(series), request, seed_of(request.key(series))) for request in requests]
            start = time.perf_counter()
            tokens = sum(one.completion_tokens for one in backend.generate(asked, series))
            return tokens / (time.perf_counter() - start)

        ours()  # the first use of an engine allocates
        mine, bare = in_turn(5, ours, engine)
        yield {
            "name": "sampling through the stage",
            "unit": "tokens/s",
            "ours": mine,
            "baseline": bare,
            "beside": "vLLM",
        }


def grading() -> Iterator[Figure]:
    """Completions graded per second."""
    from distillery.verification.graders import DEFAULT_GRADERS, grade

    grader = DEFAULT_GRADERS["number"]["robust"]
    texts = [f" Tom has {n} + 4 = {n + 4} apples. --> {n + 4}" for n in range(20_000)]

    def ours() -> float:
        start = time.perf_counter()
        for n, text in enumerate(texts):
            grade(text, None, "stop", str(n + 4), grader, "-->")
        return len(texts) / (time.perf_counter() - start)

    yield {"name": "answers graded", "unit": "1/s", "ours": statistics.median(ours() for _ in range(5))}


def lookup() -> Iterator[Figure]:
    """Seconds to look up 100,000 completion keys in a store of as many."""
    from distillery.sampling.requests import Request, Series
    from distillery.sampling.store import CompletionStore, Stored

    series = Series.of("bench", {"temperature": 1, "top_p": 1, "top_k": 0, "max_new_tokens": 8, "seed": 0}, [])
    with tempfile.TemporaryDirectory() as scratch:
        store = CompletionStore(scratch)
        keys = [Request(f"question {n}", 0).key(series) for n in range(100_000)]
        with store.writer(series) as writer:
            for n, key in enumerate(keys):
                writer.add(f"question {n}", Stored(key, 0, "an answer of some length " * 4, "stop", 9, 9))

        def ours() -> float:
            start = time.perf_counter()
            assert len(store.find(series, set(keys))) == len(keys)
            return time.perf_counter() - start

        yield {"name": "look-up of 100,000 keys", "unit": "s", "ours": statistics.median(ours() for _ in range(3))}


def cached() -> Iterator[Figure]:
    """Seconds of a training job that the cache answers, process start included: beside a copy of its folder."""
    from distillery.files import write_json
    from distillery.jobs.cache import ArtifactCache
    from distillery.jobs.job import Job
    from distillery.jobs.provenance import placed, provenance

    (REPOSITORY / "work").mkdir(exist_ok=True)
    for megabytes in (1, 1000):
        with tempfile.TemporaryDirectory(dir=REPOSITORY / "work") as scratch:
            root = Path(scratch)
            (root / "made" / "model").mkdir(parents=True)
            (root / "made" / "model" / "model.safetensors").write_bytes(os.urandom(1 << 20) * megabytes)
            outputs = {"folder": root / "model"}
            for name in ("rows", "base", "manifest", "summary"):
                (root / name).write_text("{}")
            outputs |= {name: root / name for name in ("manifest", "summary")}
            inputs = {"rows": root / "rows", "base": root / "base"}
            job = Job("train", inputs, {**outputs, "provenance": root / "provenance.json"}, {"code": "abc"})
            made = {**outputs, "folder": root / "made" / "model"}
            now = datetime.now(UTC)
            record = provenance(replace(job, outputs=made), now, now, {})
            ArtifactCache(root / "cache").store(job.key, "train", made, record)
            write_json(root / "record.json", {**record, **placed(job)})
            script = [sys.executable, REPOSITORY / "workflow/scripts/train.py", root / "record.json"]

            def ours(script: list = script, root: Path = root) -> float:
                shutil.rmtree(root / "model", ignore_errors=True)
                start = time.perf_counter()
                environment = {**os.environ, "DISTILLERY_CACHE": str(root / "cache")}
                subprocess.run(script, check=True, capture_output=True, env=environment)
                took = time.perf_counter() - start
                assert (root / "model" / "model.safetensors").stat().st_nlink == 3
                return took

            def copied(root: Path = root) -> float:
                shutil.rmtree(root / "copy", ignore_errors=True)
                start = time.perf_counter()
                shutil.copytree(root / "made", root / "copy")
                return time.perf_counter() - start

            yield {
                "name": f"a cached training job, {megabytes} MB, process start included",
                "unit": "s",
                "ours": statistics.median(ours() for _ in range(5)),
                "baseline": statistics.median(copied() for _ in range(3)),
                "baseline is": "a copy of the folder",
            }


def plan() -> Iterator[Figure]:
    """Seconds of a dry run of the default."""

    def ours() -> float:
        start = time.perf_counter()
        command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "all", "--cores", "2"]
        subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
        return time.perf_counter() - start

    yield {"name": "dry run of the default", "unit": "s", "ours": statistics.median(ours() for _ in range(3))}


def digests() -> Iterator[Figure]:
    """Seconds to digest the code of all stages, as each start of the workflow does: beside parsing all files once."""
    from distillery.jobs.code_digest import Library

    scripts = REPOSITORY / "workflow" / "scripts"
    stages = sorted(path.stem for path in scripts.glob("*.py"))
    with tempfile.TemporaryDirectory() as scratch:
        ignored = shutil.ignore_patterns("__pycache__")
        root = Path(
            shutil.copytree(REPOSITORY / "workflow" / "distillery", Path(scratch, "distillery"), ignore=ignored)
        )
        files = [*root.rglob("*.py"), *scripts.glob("*.py")]

        def digested() -> float:
            start = time.perf_counter()
            library = Library.read(root, scripts)
            assert all(library.stage(stage).digest for stage in stages)
            return time.perf_counter() - start

        def after_a_clone() -> float:
            shutil.rmtree(root / "__pycache__", ignore_errors=True)
            return digested()

        def parsed() -> float:
            start = time.perf_counter()
            for path in files:
                ast.parse(path.read_bytes())
            return time.perf_counter() - start

        for name, ours in (("after a clone", after_a_clone), ("with kept analyses", digested)):
            mine, bare = in_turn(5, ours, parsed)
            figure = {"name": f"code digests of all stages, {name}", "unit": "s", "ours": mine, "baseline": bare}
            yield {**figure, "beside": "parsing all files"}


def programs() -> Iterator[Figure]:
    """Programs run per second in the sandbox, as the machine's strongest profile, against a Python process for each."""
    from distillery.programs.sandbox import Sandbox

    texts = [f"def solution():\n    a = {n}\n    b = 4\n    result = a * b\n    return result\n" for n in range(800)]
    few = texts[:40]  # one process each takes a hundredth of a second and more

    def one_process_each() -> float:
        start = time.perf_counter()
        for text in few:
            command = [sys.executable, "-I", "-S", "-c", f"{text}print(solution())"]
            subprocess.run(command, check=True, capture_output=True, timeout=30)
        return len(few) / (time.perf_counter() - start)

    with Sandbox() as box:

        def ours() -> float:
            start = time.perf_counter()
            assert all(run.outcome == "ok" for run in box.run(texts))
            return len(texts) / (time.perf_counter() - start)

        mine, bare = in_turn(3, ours, one_process_each)
        beside = "one process per program, without a sandbox"
        name = f"programs run, profile {box.profile}"
        yield {"name": name, "unit": "1/s", "ours": mine, "baseline": bare, "beside": beside}


def training() -> Iterator[Figure]:
    """Seconds and peak memory on equal rows: soft labels beside plain training, that beside padding and TRL's own."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        subprocess.run([sys.executable, str(trainings.__file__), "prepare", scratch], check=True, capture_output=True)
        for way in ("exact", "top-k", "online"):
            yield from _trainings(folder, f"training with soft labels, {way}", way, "plain", "plain training")
        beside = {"padded": "the whole set padded to its longest row", "trl": "TRL's SFTTrainer, its defaults"}
        for way, words in beside.items():
            yield from _trainings(folder, f"training beside {way}", "plain", way, words)


def _trainings(folder: Path, name: str, mine: str, bare: str, beside: str) -> Iterator[Figure]:
    pairs = [(trainings.measured(mine, folder), trainings.measured(bare, folder)) for _ in range(3)]
    for key, unit in (("seconds", "s"), ("memory", "GB")):
        ours, baseline = (statistics.median(figures[key] for figures in side) for side in zip(*pairs, strict=True))
        yield {"name": f"{name}, {key}", "unit": unit, "ours": ours, "baseline": baseline, "beside": beside}


FIGURES = {
    "cached": cached,
    "sampling": sampling,
    "grading": grading,
    "lookup": lookup,
    "plan": plan,
    "digests": digests,
    "programs": programs,
    "training": training,
}


def main() -> None:
    """Measure what the command line names and print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"out of {', '.join(FIGURES)}; all by default")
    names = parser.parse_args().names or list(FIGURES)
    for name in names:
        if name not in FIGURES:
            parser.error(f"no figure {name!r}; there are {', '.join(FIGURES)}")
        for figure in FIGURES[name]():
            if "baseline" in figure:
                figure["ratio"] = round(figure["ours"] / figure["baseline"], 3)
            rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in figure.items()}
            machine = f"{platform.machine()}, {platform.processor() or 'CPU'}, Python {platform.python_version()}"
            print(json.dumps({**rounded, "machine": machine, "date": datetime.now(UTC).date().isoformat()}), flush=True)


if __name__ == "__main__":
    main()
