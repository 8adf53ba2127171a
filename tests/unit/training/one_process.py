"""One of several processes that train together: `torchrun one_process.py <a JSON list of paths and settings>`."""

import functools
import json
import sys
from pathlib import Path
from unittest.mock import patch

import torch

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.unit.training.by_hand import train

from distillery.training.train import MachineOptions, TrainingJob

if __name__ == "__main__":
    for given in json.loads(sys.argv[1]):
        job = functools.partial(TrainingJob, machine=MachineOptions(**given["machine"]))
        with patch("distillery.training.train.TrainingJob", job):  # the stage itself leaves the machine's options alone
            train(
                Path(given["base"]),
                Path(given["out"]),
                given["train"],
                rows=Path(given["rows"]),
                objective=given["objective"],
                mentor=Path(given["mentor"]) if given["mentor"] else None,
            )
    torch.distributed.destroy_process_group()
