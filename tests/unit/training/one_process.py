"""One of several processes that train together: `torchrun one_process.py <a JSON list of paths and settings>`."""

import json
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from transformers import TrainerCallback

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.unit.training.by_hand import train

from distillery.training.train import MachineOptions, TrainingJob, train_model


class Killed(Exception):
    pass


class KillAt(TrainerCallback):
    """Ends the training after an update, before anything else of that step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Killed


def run(given: dict[str, Any], callbacks: list[TrainerCallback]) -> None:
    job = partial(TrainingJob, machine=MachineOptions(**given["machine"]))
    with (  # the stage itself leaves the machine's options alone
        patch("distillery.training.train.TrainingJob", job),
        patch("distillery.training.train.train_model", partial(train_model, callbacks=callbacks)),
    ):
        train(
            Path(given["base"]),
            Path(given["out"]),
            given["train"],
            rows=Path(given["rows"]),
            objective=given["objective"],
            mentor=Path(given["mentor"]) if given["mentor"] else None,
        )


if __name__ == "__main__":
    for given in json.loads(sys.argv[1]):
        if given["killed_at"]:
            with suppress(Killed):
                run(given, [KillAt(given["killed_at"])])
        run(given, [])
    torch.distributed.destroy_process_group()
