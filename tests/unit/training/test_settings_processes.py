"""Two processes train the model that one does: batches are shared out, and gradients are averaged over all tokens."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import BatchSampler

from distillery.training.batches import EpochOrder, ProcessPasses

from .by_hand import Trained, base_model, largest_difference, train

ROWS = [("Q: a?\nA:", " b"), ("Q: b, c and d?\nA:", " e f g h i j"), ("Q: k?\nA:", " l m n"), ("Q: why?\nA:", " o"),
        ("Q: o?\nA:", " p q r s t u v w"), ("Q: x?\nA:", " y"), ("Q: no\nA:", " z"), ("Q:\nA:", " 1 2"),
        ("Q: 3 4 5 6?\nA:", " 7 8 9 10 11 12")]  # fmt: skip
"""Targets of very unequal lengths: a mean of two means would be another number."""

KD = {"loss": "mentor-kd", "lambda": 0.5, "temperature": 2.0, "mentor": True}
CASES: dict[str, dict[str, Any]] = {
    "full batches": {"rows": 8},
    "one row left": {"rows": 9, "machine": {"gradient_checkpointing": True}},
    "three rows left": {"rows": 7},
    "a single row": {"rows": 1, "train": {"max_grad_norm": 0.1}},
    "one row at a time": {"rows": 7, "machine": {"device_batch_size": 1}},
    "soft labels": {"rows": 9, "objective": KD},
    "soft labels on all positions": {"rows": 9, "objective": {**KD, "mask": "repo-compat"}},
    "pairs": {"rows": 5, "objective": {"loss": "two-task", "alpha": 0.3}},
    "supervised padding": {"rows": 5, "objective": {"loss": "two-task", "mask_padding": False}},
    "encoder-decoder": {"rows": 5, "architecture": "encoder-decoder"},
    "killed and resumed": {"rows": 9, "machine": {"checkpoint_steps": 1}, "killed_at": 3},
    "adapters": {"rows": 5, "train": {"lora": {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": "all-linear"}}},
}
"""Batches have four units: what is left for the last batch of an epoch need not suffice for two processes."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Every case, trained by one process and by two that are started once."""
    folder = tmp_path_factory.mktemp("processes")
    bases = {name: base_model(folder / name, architecture=name) for name in ("causal", "encoder-decoder")}
    mentor = base_model(folder / "mentor", seed=5)
    jobs = {}
    for name, case in CASES.items():
        objective = dict(case.get("objective", {"loss": "cross-entropy"}))
        sources = ["feedback", "rationale"] if objective["loss"] == "two-task" else ["gold"]
        rows = folder / f"{name}.jsonl"
        rows.write_text("".join(
            json.dumps({"qid": f"q{number}", "source": source, "sample_index": 0, "completion_id": None,
                        "prompt": prompt, "target": target + source}) + "\n"
            for number, (prompt, target) in enumerate(ROWS[: case["rows"]]) for source in sources))  # fmt: skip
        jobs[name] = {
            "base": str(bases[case.get("architecture", "causal")]),
            "mentor": str(mentor) if objective.pop("mentor", False) else None,
            "rows": str(rows),
            "train": {"epochs": 2, **case.get("train", {})},
            "objective": objective,
            "machine": case.get("machine", {}),
            "killed_at": case.get("killed_at"),
        }
    given = [{**job, "out": str(folder / "two" / name)} for name, job in jobs.items()]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    worker = str(Path(__file__).with_name("one_process.py"))
    done = subprocess.run([*launcher, worker, json.dumps(given)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

    def both(name):
        job = jobs[name]
        alone = train(
            Path(job["base"]), folder / "one" / name, job["train"], rows=Path(job["rows"]), objective=job["objective"],
            mentor=mentor if job["mentor"] else None,
        )  # fmt: skip
        return alone, Trained(folder / "two" / name)

    return both


@pytest.mark.parametrize("case", CASES)
@pytest.mark.reliability("machine")
def test_two_processes_give_the_losses_and_weights_of_one(trained, case):
    alone, together = trained(case)
    assert together.summary["steps"] == alone.summary["steps"] == 2 * -(-CASES[case]["rows"] // 4)
    assert together.summary["resumed_from"] == (2 if "killed_at" in CASES[case] else None)
    assert together.losses == pytest.approx(alone.losses, abs=1e-5)
    assert largest_difference(together.weights, alone.weights) < 1e-5


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 12])
@pytest.mark.parametrize("rows_of_a_pass", [1, 2, 5])
@pytest.mark.reliability("machine", cases=30)
def test_processes_make_equally_many_passes_and_together_every_batch_once(processes, rows_of_a_pass):
    for rows in range(1, 31):
        order = EpochOrder(range(rows), batch_size=12, seed=rows)
        passes = [ProcessPasses(order, rows_of_a_pass, process, processes) for process in range(processes)]
        made = [list(of_one) for of_one in passes]
        per_batch = -(-12 // processes // rows_of_a_pass)  # of a batch that is full
        assert len({len(of_one) for of_one in made}) == 1
        assert [len(of_one) for of_one in passes] == [len(of_one) for of_one in made]
        assert max(len(part) for of_one in made for part in of_one) <= rows_of_a_pass
        for number, batch in enumerate(BatchSampler(order, batch_size=12, drop_last=False)):
            parts = [of_one[number * per_batch : (number + 1) * per_batch] for of_one in made]
            assert [index for of_one in parts for part in of_one for index in part] == batch
            shares = [sum(map(len, of_one)) for of_one in parts]
            assert max(shares) - min(shares) <= 1
