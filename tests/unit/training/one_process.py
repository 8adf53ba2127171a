"""One of several processes that train together: `torchrun one_process.py <a JSON object of paths and settings>`."""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.unit.training.by_hand import train

if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    train(
        Path(given["base"]),
        Path(given["out"]),
        given["train"],
        rows=Path(given["rows"]),
        objective=given["objective"],
        mentor=Path(given["mentor"]) if given["mentor"] else None,
    )
    torch.distributed.destroy_process_group()
