"""The pieces of a training, each alone: arguments of the trainer, checkpoints, summary, held-out rows."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from distillery.config.recipe import Train
from distillery.errors import UserError
from distillery.models.tokenization import Example
from distillery.records import TrainingRow
from distillery.training.arguments import trainer_arguments
from distillery.training.batches import CausalCollator
from distillery.training.checkpoints import Checkpoint, last_whole, seal
from distillery.training.held_out import HeldOutLoss, hold_out
from distillery.training.job import MachineOptions, TrainingJob
from distillery.training.objectives.cross_entropy import CrossEntropy
from distillery.training.objectives.mentor_kd import MentorKD
from distillery.training.student import load_mentor
from distillery.training.summary import summarise
from distillery.training.units import Unit, count_units

TRAIN = Train(epochs=2, batch_size=8, learning_rate=1e-3, precision="fp32", max_length=64, warmup=0.25,
              weight_decay=0.125, max_grad_norm=0.5, schedule="cosine")  # fmt: skip
JOB = TrainingJob(
    base=Path("base"), out=Path("out"), checkpoints=Path("checkpoints"), train=TRAIN,
    objective=CrossEntropy(loss="cross-entropy"), architecture="causal", seed=7,
)  # fmt: skip


# Arguments


def arguments(steps: int = 10, machine: MachineOptions | None = None, architecture: str = "causal", **train):
    job = replace(
        JOB, train=TRAIN.model_copy(update=train), machine=machine or MachineOptions(), architecture=architecture
    )
    return trainer_arguments(job, steps)


@pytest.mark.parametrize("architecture", ["causal", "encoder-decoder"])
def test_the_trainer_is_given_what_the_recipe_says(architecture):
    found = arguments(architecture=architecture)
    expected = {
        "output_dir": "checkpoints", "max_steps": 10, "learning_rate": 1e-3, "warmup_steps": 2,
        "weight_decay": 0.125, "max_grad_norm": 0.5, "seed": 7, "data_seed": 7, "fp16": False, "bf16": False,
        "tf32": None, "logging_steps": 1, "logging_nan_inf_filter": False, "report_to": [], "push_to_hub": False,
        "disable_tqdm": True, "remove_unused_columns": False, "dataloader_num_workers": 0,
        "dataloader_pin_memory": torch.cuda.is_available(), "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": False, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1,
    }  # fmt: skip
    assert {name: getattr(found, name) for name in expected} == expected
    assert (found.lr_scheduler_type, found.optim, found.save_strategy) == ("cosine", "adamw_torch_fused", "no")
    if architecture == "causal":
        assert (found.max_length, found.dataset_kwargs) == (None, {"skip_prepare_dataset": True})


def test_a_constant_schedule_warms_up_only_where_there_is_a_warmup():
    assert arguments(schedule="constant").lr_scheduler_type == "constant_with_warmup"
    assert arguments(schedule="constant", warmup=0.0).lr_scheduler_type == "constant"
    assert arguments(schedule="linear", warmup=0.0).lr_scheduler_type == "linear"
    assert arguments(max_grad_norm=None).max_grad_norm == 0.0
    assert arguments(precision="bf16").bf16 is True
    assert arguments(machine=MachineOptions(gradient_checkpointing=True)).gradient_checkpointing is True


@pytest.mark.parametrize(("rows", "micro", "passes"), [(None, 8, 1), (8, 8, 1), (2, 2, 4), (1, 1, 8)])
def test_a_batch_is_made_in_as_many_passes_as_the_device_needs(rows, micro, passes):
    found = arguments(machine=MachineOptions(device_batch_size=rows))
    assert (found.per_device_train_batch_size, found.gradient_accumulation_steps) == (micro, passes)


def test_a_batch_that_cannot_be_split_is_named():
    with pytest.raises(UserError) as caught:
        arguments(machine=MachineOptions(device_batch_size=3))
    fault = caught.value
    assert fault.problem == "the rows of a batch cannot be split over 1 devices, 3 at a time"
    assert (fault.key, fault.value) == ("train.batch_size", 8)


# Checkpoints


def written(checkpoints: Path, step: int, **files: str) -> None:
    for name, text in (files or {"weights": f"w{step}"}).items():
        path = checkpoints / ".writing" / f"checkpoint-{step}" / "part" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_checkpoint_is_sealed_with_sizes_and_digests_and_two_are_kept(tmp_path):
    (tmp_path / "checkpoint-best").mkdir()
    for step in (9, 10, 8, 11):
        written(tmp_path, step, a="one", b="three")
        seal(tmp_path, step, step / 2)
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [
        "checkpoint-10", "checkpoint-11", "checkpoint-best",
    ]  # fmt: skip
    assert json.loads((tmp_path / "checkpoint-11" / "whole.json").read_text()) == {
        "files": {
            "part/a": [3, hashlib.sha256(b"one").hexdigest()],
            "part/b": [5, hashlib.sha256(b"three").hexdigest()],
        },
        "seconds": 5.5,
    }
    written(tmp_path, 11, a="newer")
    seal(tmp_path, 11, 6.0)
    assert (tmp_path / "checkpoint-11" / "part" / "a").read_text() == "newer"
    assert not (tmp_path / "checkpoint-11" / "part" / "b").exists()
    written(tmp_path, 12)
    assert last_whole(tmp_path) == Checkpoint(tmp_path / "checkpoint-11", 11, 6.0)
    assert not (tmp_path / ".writing").exists(), "what a killed process left is deleted"


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda folder: (folder / "part" / "weights").unlink(), "part/weights"),
        (lambda folder: (folder / "part" / "weights").write_text("w10, longer"), "part/weights"),
        (lambda folder: (folder / "part" / "weights").write_text("x10"), "part/weights"),
        (lambda folder: (folder / "whole.json").unlink(), "whole.json: "),
        (lambda folder: (folder / "whole.json").write_text("{"), "whole.json: "),
        (lambda folder: (folder / "whole.json").write_text('{"files": []}'), "whole.json: "),
        (lambda folder: (folder / "whole.json").write_text('{"files": 1, "seconds": 1}'), "whole.json: "),
    ],
)
def test_a_torn_checkpoint_is_named_removed_and_the_one_before_is_used(tmp_path, damage, fault, caplog):
    for step in (9, 10):
        written(tmp_path, step)
        seal(tmp_path, step, 1.5)
    damage(tmp_path / "checkpoint-10")
    assert last_whole(tmp_path) == Checkpoint(tmp_path / "checkpoint-9", 9, 1.5)
    assert not (tmp_path / "checkpoint-10").exists()
    assert f"checkpoint-10 is torn ({fault}" in caplog.text


# Summary


def example(prompt: int, target: int) -> Example:
    return Example(prompt_ids=[1] * prompt, target_ids=[2] * target)


def summary(losses: list[float], *, step: int = 3, seconds: float = 2.0, resume=None, held=(), log=()):
    units = [Unit((example(3, 2),), (False,)), Unit((example(1, 4), example(5, 1)), (True, False))]
    history = [{"loss": loss} for loss in losses] + [{"other": 1.0}, *log]
    trainer = SimpleNamespace(state=SimpleNamespace(global_step=step, log_history=history))
    order = SimpleNamespace(seen=lambda steps: [0, 1, 0][:steps], steps_per_epoch=lambda: 2)
    return summarise(trainer, units, order, seconds, resume, held)


def test_a_summary_counts_what_was_trained_on():
    held = [example(9, 3), example(9, 4)]
    log = [{"step": 0, "held_out_loss": 2.5}, {"step": 3, "held_out_loss": 1.5}]
    found = summary([3.0, 2.0, 1.0], held=held, log=log, resume=Checkpoint(Path("c"), 2, 1.0))
    assert found.model_dump() == {
        "steps": 3, "epochs": 1.5, "rows": 3, "target_tokens": 9, "total_tokens": 21, "seconds": 2.0,
        "target_tokens_per_second": 4.5, "final_loss": 1.0, "loss_history": [(1, 3.0), (2, 2.0), (3, 1.0)],
        "held_out_rows": 2, "held_out_tokens": 7, "held_out_loss": [(0, 2.5), (3, 1.5)], "resumed_from": 2,
    }  # fmt: skip
    plain = summary([1.0], seconds=0.12345, step=1)
    assert (plain.resumed_from, plain.held_out_rows, plain.held_out_loss, plain.seconds) == (None, 0, [], 0.123)
    assert (plain.epochs, plain.target_tokens_per_second) == (0.5, 16.2)
    assert summary([1.0], seconds=0.0).target_tokens_per_second > 1e9


@pytest.mark.parametrize(
    ("count", "points", "first", "last"),
    [(200, 200, (1, 1.0), (200, 200.0)), (201, 101, (2, 1.5), (201, 201.0)), (400, 200, (2, 1.5), (400, 399.5))],
)
def test_a_long_curve_is_averaged_over_equal_stretches(count, points, first, last):
    found = summary([float(number) for number in range(1, count + 1)])
    assert (len(found.loss_history), found.loss_history[0], found.loss_history[-1]) == (points, first, last)
    tenth = count // 10
    assert found.final_loss == pytest.approx(count - (tenth - 1) / 2), "the mean of the last tenth"


# Held-out rows


def row(qid: str, source: str = "gold", index: int = 0) -> TrainingRow:
    return TrainingRow(qid=qid, source=source, sample_index=index, completion_id=None, prompt="p", target="t")


def test_every_row_is_kept_or_held_out():
    rows = [row(f"q{number}") for number in range(8)]
    kept, held = hold_out(rows, 0.0)
    assert (kept, held) == (rows, [])
    kept, held = hold_out(rows, 0.5)
    assert sorted([*kept, *held], key=lambda found: found.qid) == rows and kept and held


def test_a_share_that_leaves_one_side_empty_is_refused_with_its_count():
    with pytest.raises(UserError) as caught:
        hold_out([row("q1"), row("q2")], 1.0)
    assert (caught.value.problem, caught.value.key, caught.value.value) == (
        "of 2 rows, 2 would be held out", "train.held_out", 1.0,
    )  # fmt: skip


def test_held_out_rows_are_evaluated_in_batches_of_similar_length_and_evenly_over_the_updates():
    examples = [example(length, 1) for length in (5, 1, 4, 2, 3)]
    watch = HeldOutLoss(examples, CausalCollator(0), batch_size=2, updates=10, times=4)
    assert [[len(found.prompt_ids) for found in batch] for batch in watch.batches] == [[1, 2], [3, 4], [5]]
    assert watch.at == {2, 5, 8, 10}  # round() is half to even: 2.5 and 7.5


# Units and mentors


def test_rows_of_both_tasks_count_as_pairs():
    pairs = [
        row(f"q{n}", source, index) for n, index in [(1, 0), (1, 1), (2, 0)] for source in ("feedback", "rationale")
    ]
    assert count_units(pairs) == 3
    assert count_units(pairs[:1]) == 1 and count_units([*pairs, row("q3")]) == 7
    assert count_units([]) == 0


def test_an_objective_without_a_mentor_loads_none_and_one_with_it_names_what_lacks():
    assert load_mentor(JOB, None) is None
    with pytest.raises(UserError) as caught:
        load_mentor(replace(JOB, objective=MentorKD(loss="mentor-kd")), None)
    assert (caught.value.problem, caught.value.key, caught.value.value) == (
        "the objective mentor-kd needs a mentor model", "objective.loss", "mentor-kd",
    )  # fmt: skip
