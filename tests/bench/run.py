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
sys.path.insert(0, str(REPOSITORY / "workflow"))

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


def soft_labels() -> Iterator[Figure]:
    """Seconds of a training that reads soft labels, and of one beside its mentor: beside plain training on equal rows.

    Student and mentor have the shape of the default's, with random weights: 49,152 tokens, 576 wide, 16 and 30 layers.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from distillery.config.model import RandomModel
    from distillery.config.recipe import Train
    from distillery.models.manifest import describe_model, write_manifest
    from distillery.models.sources import prepare_model
    from distillery.records import TrainingRow
    from distillery.training.mentor_pass import write_soft_labels
    from distillery.training.objectives import OBJECTIVES
    from distillery.training.train import TrainingJob, train_model

    steps, batch = 6, 4
    rows = [
        TrainingRow(
            qid=f"q{n:03d}", source="teacher", sample_index=0, completion_id=None,
            prompt="Q: Each of the boys has some apples. How many are there?\nA:",
            target=f" {n} + {n} = {2 * n} apples. --> {2 * n}",
        )
        for n in range(200, 200 + steps * batch)
    ]  # fmt: skip
    ways = {"plain": {"loss": "cross-entropy"}}
    ways |= {way: {"loss": "mentor-kd", "soft_labels": way} for way in ("exact", "top-k", "online")}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        manifests = {}
        for name, layers in (("student", 16), ("mentor", 30)):
            prepare_model(RandomModel(kind="random", hidden_size=576), folder / name, parent=None, downloads=folder)
            config = AutoConfig.from_pretrained(folder / name)
            config.vocab_size, config.num_hidden_layers, config.intermediate_size = 49_152, layers, 1536
            config.num_attention_heads, config.num_key_value_heads, config.head_dim = 9, 3, 64
            AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder / name)
            manifests[name] = describe_model(folder / name, name=name, kind="random", architecture="causal")
            write_manifest(folder / name, manifests[name])

        def stored(way: str) -> Path | None:
            form = OBJECTIVES[ways[way]["loss"]].model_validate(ways[way]).soft_label_form
            if form is None:
                return None
            path = folder / f"{way}.arrow"
            if not path.exists():
                write_soft_labels(rows, folder / "mentor", manifests["mentor"], path, form=form, precision="bf16")
            return path

        def seconds(way: str) -> float:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            job = TrainingJob(
                base=folder / "student", out=folder / "out", checkpoints=folder / "checkpoints", architecture="causal",
                train=Train(epochs=1, batch_size=batch, precision="bf16"), seed=1, soft_labels=stored(way),
                objective=OBJECTIVES[ways[way]["loss"]].model_validate(ways[way]),
                mentor=folder / "mentor" if way == "online" else None,
            )  # fmt: skip
            return train_model(rows, job).seconds

        seconds("plain")  # the first training imports and allocates
        for way in ("exact", "top-k", "online"):
            mine, bare = in_turn(3, lambda way=way: seconds(way), lambda: seconds("plain"))
            name = f"training with soft labels, {way}"
            yield {"name": name, "unit": "s", "ours": mine, "baseline": bare, "beside": "plain training"}


FIGURES = {
    "cached": cached,
    "sampling": sampling,
    "grading": grading,
    "lookup": lookup,
    "plan": plan,
    "digests": digests,
    "programs": programs,
    "soft_labels": soft_labels,
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
