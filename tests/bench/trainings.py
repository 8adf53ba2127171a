"""One training in a process of its own, so that its peak memory can be read: seconds and memory.

    python tests/bench/trainings.py WAY FOLDER

Ways: `plain` is ours; `exact`, `top-k` and `online` have a mentor's soft labels, stored or from the mentor beside the
student; `padded` has the published code's padding, the whole data set to its longest row (Fine-tune-CoT, Mentor-KD);
`trl` is TRL's SFTTrainer with its defaults. `run.py` calls it for each way on equal rows and weights and compares the
figures. Student and mentor have the shape of the default's, with random weights. The rows are worked solutions of the
default's task, of unequal lengths.
"""

import functools
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
LAYERS = {"student": 26, "mentor": 30}
UPDATES, BATCH = 12, 4
RATE = 3e-4

SOFT = {way: {"loss": "mentor-kd", "soft_labels": way} for way in ("exact", "top-k", "online")}
PLAIN = {"loss": "cross-entropy"}


def measured(way: str, folder: Path) -> dict[str, float]:
    """Figures of one training: `seconds` of its updates, `memory` at its peak in GB."""
    command = [sys.executable, str(Path(__file__)), way, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def prepare(folder: Path) -> None:
    """Write student, mentor and rows, and the mentor's soft labels in both stored forms."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from distillery.config.model import RandomModel
    from distillery.models.manifest import describe_model, write_manifest
    from distillery.models.sources import prepare_model
    from distillery.records import write_records
    from distillery.training.mentor_pass import write_soft_labels

    mentor = None
    for name, layers in LAYERS.items():
        prepare_model(RandomModel(kind="random", hidden_size=576), folder / name, parent=None, downloads=folder)
        config = AutoConfig.from_pretrained(folder / name)
        config.vocab_size, config.num_hidden_layers, config.intermediate_size = 49_152, layers, 1536
        config.num_attention_heads, config.num_key_value_heads, config.head_dim = 9, 3, 64
        AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder / name)
        mentor = describe_model(folder / name, name=name, kind="random", architecture="causal")
        write_manifest(folder / name, mentor)
    rows = _rows()
    write_records(folder / "rows.jsonl", rows)
    for way in ("exact", "top-k"):
        form = _objective(SOFT[way]).soft_label_form
        write_soft_labels(rows, folder / "mentor", mentor, folder / f"{way}.arrow", form=form, precision="bf16")


def _rows() -> list[Any]:
    import yaml

    from distillery.config.task import Task
    from distillery.records import TrainingRow
    from distillery.tasks.questions import build_task

    task = Task.model_validate(yaml.safe_load((REPOSITORY / "config/tasks/arithmetic.yaml").read_text()))
    questions = build_task(task, REPOSITORY).train[: UPDATES * BATCH]
    return [
        TrainingRow(
            qid=question.qid, source="gold", sample_index=0, completion_id=None,
            prompt=f"Q: {question.question}\nA:", target=f" {question.rationale} --> {question.gold}",
        )
        for question in questions
    ]  # fmt: skip


def _objective(settings: dict[str, Any]) -> Any:
    from distillery.training.objectives import OBJECTIVES

    return OBJECTIVES[settings["loss"]].model_validate(settings)


def ours(way: str, folder: Path) -> float:
    """Train as the stage does; returns its seconds."""
    from distillery.config.recipe import Train
    from distillery.records import TrainingRow, read_records
    from distillery.training import batches
    from distillery.training.train import TrainingJob, train_model

    rows = list(read_records(folder / "rows.jsonl", TrainingRow))
    if way == "padded":
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder / "student")
        longest = max(len(tokenizer(row.prompt + row.target).input_ids) + 1 for row in rows)
        collate = batches.CausalCollator.__call__

        @functools.wraps(collate)
        def padded(self: Any, examples: Any) -> Any:
            batch = collate(self, examples)
            fill = {"input_ids": self.pad_token_id, "labels": -100, "attention_mask": 0}
            return {key: _to_length(value, longest, fill.get(key)) for key, value in batch.items()}

        batches.CausalCollator.__call__ = padded
    stored = folder / f"{way}.arrow"
    job = TrainingJob(
        base=folder / "student", out=folder / "out", checkpoints=folder / "checkpoints", architecture="causal", seed=1,
        train=Train(epochs=1, batch_size=BATCH, learning_rate=RATE, precision="bf16"),
        objective=_objective(SOFT.get(way, PLAIN)), soft_labels=stored if stored.exists() else None,
        mentor=folder / "mentor" if way == "online" else None,
    )  # fmt: skip
    return train_model(rows, job).seconds


def _to_length(value: Any, length: int, fill: int | None) -> Any:
    from torch.nn.functional import pad

    return value if fill is None else pad(value, (0, length - value.shape[1]), value=fill)


def trl(folder: Path) -> float:
    """Train with TRL's SFTTrainer; all but the batch size, the updates and the rate is its default. Returns seconds."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    lines = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    rows = Dataset.from_list([{"prompt": line["prompt"], "completion": line["target"]} for line in lines])
    arguments = SFTConfig(
        output_dir=str(folder / "checkpoints"), max_steps=UPDATES, per_device_train_batch_size=BATCH,
        learning_rate=RATE, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = SFTTrainer(model=str(folder / "student"), args=arguments, train_dataset=rows)
    start = time.monotonic()
    trainer.train()
    return time.monotonic() - start


def main() -> None:
    """Carry out one training and print its figures."""
    way, folder = sys.argv[1], Path(sys.argv[2])
    sys.path.insert(0, str(REPOSITORY / "workflow"))
    for name in ("out", "checkpoints"):
        shutil.rmtree(folder / name, ignore_errors=True)
    if way == "prepare":
        prepare(folder)
        return
    seconds = trl(folder) if way == "trl" else ours(way, folder)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": seconds, "memory": memory}))


if __name__ == "__main__":
    main()
