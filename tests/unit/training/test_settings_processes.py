"""Two processes train the model that one does: rows are shared out, and gradients are averaged over all tokens."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .by_hand import Trained, base_model, largest_difference, train, write_rows

ROWS = [("Q: a?\nA:", " b"), ("Q: b, c and d?\nA:", " e f g h i j"), ("Q: k?\nA:", " l m n"), ("Q: why?\nA:", " o"),
        ("Q: o?\nA:", " p q r s t u v w"), ("Q: x?\nA:", " y"), ("Q: no\nA:", " z"), ("Q:\nA:", " 1 2")]  # fmt: skip
"""Targets of very unequal lengths: a mean of two means would be another number."""
OBJECTIVES = {
    "cross-entropy": {"loss": "cross-entropy"},
    "mentor": {"loss": "mentor-kd", "lambda": 0.5, "temperature": 2.0},
}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_two_processes_give_the_losses_and_weights_of_one(tmp_path, objective):
    base = base_model(tmp_path / "base")
    mentor = base_model(tmp_path / "mentor", seed=5) if objective["loss"] == "mentor-kd" else None
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    alone = train(base, tmp_path / "one", {"epochs": 2}, rows=rows, objective=objective, mentor=mentor)
    given = {
        "base": str(base), "out": str(tmp_path / "two"), "train": {"epochs": 2}, "rows": str(rows),
        "objective": objective, "mentor": str(mentor) if mentor else None,
    }  # fmt: skip
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    worker = str(Path(__file__).with_name("one_process.py"))
    done = subprocess.run([*launcher, worker, json.dumps(given)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    together = Trained(tmp_path / "two")
    assert together.summary["steps"] == alone.summary["steps"] == 4
    assert together.losses == pytest.approx(alone.losses, abs=1e-5)
    assert largest_difference(together.weights, alone.weights) < 1e-5
