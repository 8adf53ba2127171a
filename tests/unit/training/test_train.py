"""Training on a tiny random model: what is learnt, in which order, and that a kill changes nothing."""

import random
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    T5Config,
    T5ForConditionalGeneration,
    TrainerCallback,
)

from distillery.config.model import RandomModel
from distillery.config.recipe import Lora, Train
from distillery.errors import UserError
from distillery.models.sources import prepare_model, read_manifest
from distillery.models.tokenization import encode_prompt, encode_rows, encode_target
from distillery.records import TrainingRow
from distillery.training.batches import CausalCollator, EpochOrder, Seq2SeqCollator
from distillery.training.checkpoints import last_whole
from distillery.training.forward import head_on
from distillery.training.held_out import hold_out
from distillery.training.losses import IGNORE
from distillery.training.mentor_pass import write_soft_labels
from distillery.training.objectives.cross_entropy import CrossEntropy
from distillery.training.objectives.mentor_kd import MentorKD
from distillery.training.train import MachineOptions, TrainingJob, train_model
from distillery.training.trainers import CausalTrainer, ObjectiveMixin

SFT = CrossEntropy(loss="cross-entropy")
KD = MentorKD(loss="mentor-kd")
TOP_K = KD.model_copy(update={"soft_labels": "top-k", "k": 9})
OBJECTIVES = {"sft": SFT, "kd": KD, "published": KD.model_copy(update={"mask": "repo-compat"})}
ONE_ROW = MachineOptions(device_batch_size=1)
EVERY_OTHER_STEP = MachineOptions(checkpoint_steps=2)
TRAIN = Train(epochs=2, batch_size=4, learning_rate=1e-3, precision="fp32", max_length=64)


def a_row(number, prompt, target):
    return TrainingRow(
        qid=f"q{number:03}", source="teacher", sample_index=0, completion_id=None, prompt=prompt, target=target
    )


def some_rows(count=21):
    chance = random.Random(0)
    return [
        a_row(n, f"Q: {'x' * chance.randint(1, 20)}\nA:", f" {'y' * chance.randint(2, 9)} --> {n}")
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two random causal models of one vocabulary, and a random T5 of it."""
    folder = tmp_path_factory.mktemp("models")
    for name, seed in {"student": 0, "mentor": 1}.items():
        model = RandomModel(kind="random", layers=2, hidden_size=32, seed=seed)
        prepare_model(model, folder / name, parent=None, downloads=folder)
    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    config = T5Config(
        vocab_size=100, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, dropout_rate=0.1,
        decoder_start_token_id=tokenizer.pad_token_id, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    for name, seed in {"t5": 0, "t5_mentor": 1}.items():
        torch.manual_seed(seed)
        T5ForConditionalGeneration(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def fit(models, work, *, name="out", base="student", rows=None, callbacks=(), stored=None, **settings):
    """Train; return the summary and the weights. `stored`: the mentor whose soft labels are stored before."""
    job = {"architecture": "causal", "objective": SFT, "train": TRAIN, "seed": 1, **settings}
    if "mentor" in job:
        job["mentor"] = models / job["mentor"]
    job |= {"base": models / base, "out": work / name, "checkpoints": work / f"checkpoints_{name}"}
    rows = some_rows() if rows is None else rows
    if stored is not None:
        job["soft_labels"], form = work / "labels.arrow", job["objective"].soft_label_form
        about = read_manifest(models / stored)
        write_soft_labels(rows, models / stored, about, job["soft_labels"], form=form, precision="fp32")
    summary = train_model(rows, TrainingJob(**job), callbacks=callbacks)
    return summary, load_file(work / name / "model.safetensors")


def assert_same(weights, others, **tolerance):
    assert weights.keys() == others.keys()
    for name in weights:
        if tolerance:
            torch.testing.assert_close(weights[name], others[name], **tolerance)
        else:
            assert torch.equal(weights[name], others[name]), name


# Tokens


def test_the_prompt_has_the_same_ids_in_training_and_in_sampling(models):
    tokenizer = AutoTokenizer.from_pretrained(models / "student")
    rows = some_rows()
    for row, example in zip(rows, encode_rows(rows, tokenizer, architecture="causal", max_length=64), strict=True):
        assert example.prompt_ids == tokenizer(row.prompt).input_ids == encode_prompt(tokenizer, row.prompt)
        batch = CausalCollator(tokenizer.pad_token_id)(
            [{"prompt_ids": example.prompt_ids, "target_ids": example.target_ids}]
        )
        assert batch["input_ids"][0, : len(example.prompt_ids)].tolist() == example.prompt_ids


def test_the_target_and_the_stop_token_carry_loss_and_nothing_else(models):
    tokenizer = AutoTokenizer.from_pretrained(models / "student")
    examples = encode_rows(some_rows(), tokenizer, architecture="causal", max_length=64)
    features = [{"prompt_ids": one.prompt_ids, "target_ids": one.target_ids} for one in examples]
    stop = tokenizer.eos_token_id
    for pad_id in (tokenizer.pad_token_id, stop):  # SmolLM2 pads with its stop token
        labels = CausalCollator(pad_id)(features)["labels"]
        for row, given in zip(some_rows(), labels, strict=True):
            learnt = given[given != IGNORE].tolist()
            assert learnt.index(stop) == len(learnt) - 1
            assert tokenizer.decode(learnt[:-1]) == row.target


def test_the_loss_is_aligned_with_the_next_token(models):
    model = AutoModelForCausalLM.from_pretrained(models / "student").eval()
    batch = CausalCollator(2)(
        [{"prompt_ids": [5, 6, 7], "target_ids": [8, 9, 1]}, {"prompt_ids": [5], "target_ids": [8, 1]}]
    )
    labels = CausalTrainer.aligned_labels(None, batch["labels"])
    with torch.no_grad(), head_on(model, labels != IGNORE):
        gathered = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[0]
    with torch.no_grad():
        whole = model(**{**batch, "labels": batch["labels"]})
    torch.testing.assert_close(gathered, whole.logits[labels != IGNORE])
    torch.testing.assert_close(torch.nn.functional.cross_entropy(gathered, labels[labels != IGNORE]), whole.loss)
    assert labels[labels != IGNORE].tolist() == [8, 9, 1, 8, 1]


def test_rows_that_are_too_long_are_counted_before_training(models, tmp_path):
    rows = [a_row(1, "x" * 50, "y"), a_row(2, "x" * 10, "y"), a_row(3, "x" * 80, "y" * 19)]
    with pytest.raises(UserError, match=r"max_length = 50: 2 of 3 rows.*q003/teacher/0\) has 100 tokens. Raise it"):
        fit(models, tmp_path, rows=rows, train=TRAIN.model_copy(update={"max_length": 50}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("prompt", "target", "words"),
    [
        ("Q:", "café", "characters that the vocabulary lacks"),
        ("Q:", "yes<eos>no", "contains the stop token"),
        ("", "yes", "prompt is empty"),
        ("Q:<eos>", "yes", "ends with the stop token"),
    ],
)
def test_rows_that_cannot_be_learnt_exactly_are_refused(models, prompt, target, words):
    tokenizer = AutoTokenizer.from_pretrained(models / "student")
    with pytest.raises(UserError, match=f"row q007/teacher/0.*{words}"):
        encode_rows([a_row(7, prompt, target)], tokenizer, architecture="causal", max_length=64)


def test_no_rows_are_refused(models, tmp_path):
    with pytest.raises(UserError, match="no training rows"):
        fit(models, tmp_path, rows=[])


def test_a_target_ends_with_one_stop_token(models):
    tokenizer = AutoTokenizer.from_pretrained(models / "student")
    assert encode_target(tokenizer, "ab") == [*tokenizer("ab").input_ids, tokenizer.eos_token_id]


# Batches


@pytest.mark.parametrize("count", [1, 3, 21, 200])
def test_each_epoch_has_every_row_once_in_another_order(count):
    chance = random.Random(1)
    order = EpochOrder([chance.randint(1, 90) for _ in range(count)], batch_size=4, seed=5)
    epochs = [order.order(epoch) for epoch in range(3)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert count < 4 or epochs[0] != epochs[1]
    assert order.order(1) == epochs[1]
    steps = order.steps_per_epoch()
    assert list(order.seen(steps + 1)) == [*epochs[0], *epochs[1][:4]]


def test_small_sets_do_not_repeat_their_batches():
    order = EpochOrder([*range(16)], batch_size=4, seed=0)
    batches = {frozenset(order.order(epoch)[:4]) for epoch in range(5)}
    assert len(batches) == 5


def test_batches_waste_little_on_padding():
    chance = random.Random(1)
    lengths = [min(512, int(chance.lognormvariate(4.2, 0.6))) for _ in range(800)]
    order = EpochOrder(lengths, batch_size=8, seed=0).order(0)
    padded = sum(8 * max(lengths[i] for i in order[at : at + 8]) for at in range(0, 800, 8))
    assert sum(lengths) / padded > 0.85
    assert sum(lengths) / (800 * max(lengths)) < 0.4  # the papers' code


def test_a_static_width_is_kept():
    batch = Seq2SeqCollator(0, width=9)([{"prompt_ids": [1, 2], "target_ids": [3]}])
    assert (batch["labels"].shape, batch["input_ids"].shape) == ((1, 9), (1, 2))


# Objectives at work


def test_training_lowers_the_loss_and_leaves_a_finished_folder(models, tmp_path):
    summary, weights = fit(models, tmp_path)
    assert summary.loss_history[-1][1] < summary.loss_history[0][1] - 0.5
    assert (summary.steps, summary.epochs, summary.rows, summary.resumed_from) == (12, 2.0, 21, None)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    targets = sum(len(tokenizer(row.target).input_ids) + 1 for row in some_rows())
    prompts = sum(len(tokenizer(row.prompt).input_ids) for row in some_rows())
    assert (summary.target_tokens, summary.total_tokens) == (2 * targets, 2 * (targets + prompts))
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.config.use_cache
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (models / "student" / "tokenizer.json").read_bytes()


def test_the_first_loss_is_that_of_the_base_model(models, tmp_path):
    rows = some_rows(4)
    summary, _ = fit(models, tmp_path, rows=rows, steps=1)
    model = AutoModelForCausalLM.from_pretrained(models / "student")
    tokenizer = AutoTokenizer.from_pretrained(models / "student")
    examples = encode_rows(rows, tokenizer, architecture="causal", max_length=64)
    batch = CausalCollator(2)([{"prompt_ids": one.prompt_ids, "target_ids": one.target_ids} for one in examples])
    assert summary.final_loss == pytest.approx(model(**batch).loss.item(), rel=1e-5)


def test_a_weight_of_zero_is_plain_training_bit_for_bit(models, tmp_path):
    _, plain = fit(models, tmp_path, name="plain")
    free = KD.model_copy(update={"weight": 0.0})
    _, joint = fit(models, tmp_path, name="joint", objective=free, mentor="mentor")
    assert_same(plain, joint)


def test_soft_labels_pull_the_student_towards_the_mentor(models, tmp_path):
    rows = some_rows()
    _, plain = fit(models, tmp_path, name="plain", rows=rows)
    alone = KD.model_copy(update={"weight": 1.0, "temperature": 1.0})
    summary, taught = fit(models, tmp_path, name="taught", rows=rows, objective=alone, mentor="mentor")
    assert any(not torch.equal(plain[name], taught[name]) for name in plain)
    assert summary.final_loss < summary.loss_history[0][1]
    own, _ = fit(models, tmp_path, name="own", rows=rows, objective=alone, mentor="student", steps=1)
    assert own.final_loss == pytest.approx(0, abs=1e-5)  # a mentor that is the student has nothing to teach


def test_the_published_mask_trains_another_student(models, tmp_path):
    _, ours = fit(models, tmp_path, name="ours", objective=KD, mentor="mentor")
    published = KD.model_copy(update={"mask": "repo-compat"})
    _, theirs = fit(models, tmp_path, name="theirs", objective=published, mentor="mentor")
    assert any(not torch.allclose(ours[name], theirs[name]) for name in ours)


def test_soft_labels_without_a_mentor_are_refused(models, tmp_path):
    with pytest.raises(UserError, match=r"objective.loss = 'mentor-kd'.*needs a mentor"):
        fit(models, tmp_path, objective=KD)


@pytest.mark.parametrize("objective", [*OBJECTIVES.values(), TOP_K], ids=[*OBJECTIVES, "kd from stored labels"])
def test_gradient_accumulation_changes_nothing(models, tmp_path, objective):
    """Rows of very unequal length, and an epoch whose last batch is not full: means of means would differ."""
    mentor = {"stored" if objective is TOP_K else "mentor": "mentor"} if objective is not SFT else {}
    whole, weights = fit(models, tmp_path, name="whole", objective=objective, **mentor)
    parts, others = fit(models, tmp_path, name="parts", objective=objective, **mentor, machine=ONE_ROW)
    assert parts.steps == whole.steps
    assert [loss for _, loss in parts.loss_history] == pytest.approx([loss for _, loss in whole.loss_history], rel=1e-4)
    assert_same(weights, others, rtol=1e-3, atol=1e-4)


def test_a_step_count_repeats_the_rows(models, tmp_path):
    summary, _ = fit(models, tmp_path, rows=some_rows(6), steps=5)
    assert (summary.steps, summary.epochs) == (5, 2.5)


def test_the_seed_decides_the_order(models, tmp_path):
    _, one = fit(models, tmp_path, name="one")
    _, again = fit(models, tmp_path, name="again")
    _, other = fit(models, tmp_path, name="other", seed=2)
    assert_same(one, again)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_bf16_is_saved_as_bf16_and_the_joint_loss_stays_near_that_of_float32(models, tmp_path):
    """That small updates are not lost is held by `test_settings_train.py`, precision."""
    train = TRAIN.model_copy(update={"precision": "bf16"})
    summary, weights = fit(models, tmp_path, train=train, objective=KD, mentor="mentor")
    assert all(tensor.dtype == torch.bfloat16 for tensor in weights.values())
    full, _ = fit(models, tmp_path, name="full", objective=KD, mentor="mentor")
    assert summary.final_loss == pytest.approx(full.final_loss, rel=0.02)


def test_adapters_are_merged_into_a_plain_model(models, tmp_path):
    train = TRAIN.model_copy(update={"lora": Lora(rank=4, alpha=8), "learning_rate": 1e-2})
    summary, weights = fit(models, tmp_path, train=train)
    base = load_file(models / "student" / "model.safetensors")
    assert weights.keys() == base.keys()
    changed = {name for name in base if not torch.equal(base[name], weights[name])}
    assert changed
    assert all("proj" in name for name in changed)
    assert summary.loss_history[-1][1] < summary.loss_history[0][1]


def test_a_batch_that_cannot_be_split_is_refused(models, tmp_path):
    with pytest.raises(UserError, match=r"train.batch_size = 4.*cannot be split"):
        fit(models, tmp_path, machine=MachineOptions(device_batch_size=3))


@pytest.mark.parametrize(("base", "loader"), [("student", AutoModelForCausalLM), ("t5", AutoModelForSeq2SeqLM)])
def test_no_norm_and_no_bias_decays(models, base, loader):
    model = loader.from_pretrained(models / base)
    decayed = set(ObjectiveMixin.get_decay_parameter_names(None, model))
    named = dict(model.named_parameters())
    assert decayed < named.keys()
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if f"{path}.{name}" not in named:  # tied to the embedding, which has another name
                continue
            matrix = parameter.ndim == 2 and "relative_attention_bias" not in path
            assert (f"{path}.{name}" in decayed) == matrix, path


# Encoder-decoders


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_an_encoder_decoder_learns(models, tmp_path, objective):
    train = TRAIN.model_copy(update={"learning_rate": 1e-2, "epochs": 3})
    mentor = {"mentor": "t5_mentor"} if objective is not SFT else {}
    summary, _ = fit(
        models, tmp_path, base="t5", objective=objective, **mentor, train=train, architecture="encoder-decoder"
    )
    assert summary.final_loss < 0.9 * summary.loss_history[0][1]
    AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out")


def test_the_first_loss_of_an_encoder_decoder_is_that_of_the_base_model(models, tmp_path):
    rows = some_rows(4)
    model = AutoModelForSeq2SeqLM.from_pretrained(models / "t5").eval()
    model.config.dropout_rate = 0.0
    model.save_pretrained(tmp_path / "still")
    tokenizer = AutoTokenizer.from_pretrained(models / "t5")
    tokenizer.save_pretrained(tmp_path / "still")
    summary, _ = fit(tmp_path, tmp_path, base="still", rows=rows, steps=1, architecture="encoder-decoder")
    examples = encode_rows(rows, tokenizer, architecture="encoder-decoder", max_length=64)
    features = [{"prompt_ids": one.prompt_ids, "target_ids": one.target_ids} for one in examples]
    assert summary.final_loss == pytest.approx(model(**Seq2SeqCollator(2)(features)).loss.item(), rel=1e-5)


# Kill and resume


class Killed(Exception):
    pass


class KillAt(TrainerCallback):
    """Dies after an update, as a killed process would: before anything else of that step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Killed


CASES = {
    "sft": {},
    "in the first epoch": {"step": 5},
    "where an epoch ends": {"step": 7},
    "kd": {"objective": KD, "mentor": "mentor"},
    "kd from stored labels": {"objective": TOP_K, "stored": "mentor"},
    "lora with dropout": {"train": TRAIN.model_copy(update={"lora": Lora(rank=4, dropout=0.3)})},
    "t5 with dropout": {"base": "t5", "architecture": "encoder-decoder"},
    "accumulated": {"machine": MachineOptions(device_batch_size=2, checkpoint_steps=2)},
    "cosine": {"train": TRAIN.model_copy(update={"schedule": "cosine", "warmup": 0.2})},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_weights(models, tmp_path, options):
    options = {"machine": EVERY_OTHER_STEP, **options}
    step = options.pop("step", 9)
    undisturbed, weights = fit(models, tmp_path, name="undisturbed", **options)
    with pytest.raises(Killed):
        fit(models, tmp_path, callbacks=[KillAt(step)], **options)
    assert not (tmp_path / "out").exists()
    resumed, others = fit(models, tmp_path, **options)
    assert resumed.resumed_from == step - 1
    assert_same(weights, others)
    assert resumed.loss_history == undisturbed.loss_history
    assert resumed.target_tokens == undisturbed.target_tokens


class RowsSeen(TrainerCallback):
    """Notes the number of each row that the model is given, in order."""

    def __init__(self, tokenizer):
        self.tokenizer, self.rows = tokenizer, []

    def on_train_begin(self, args, state, control, model, **kwargs):
        def note(_model, _arguments, inputs):
            texts = self.tokenizer.batch_decode(inputs["input_ids"], skip_special_tokens=True)
            self.rows += [int(text.rpartition("-->")[2]) for text in texts]

        model.register_forward_pre_hook(note, with_kwargs=True)


IN_PARTS = MachineOptions(device_batch_size=3, checkpoint_steps=2)
ORDERS = {
    "in the first epoch": (3, 4, {}),
    "in the second epoch": (9, 4, {}),
    "in parts of a batch": (7, 6, {"machine": IN_PARTS}),
    "rows repeated to a count of updates": (15, 4, {"steps": 16}),
}
"""Killed in this update, rows of an update, settings. There are 21 rows, so the last batch of an epoch is not full."""


@pytest.mark.parametrize(("step", "size", "options"), ORDERS.values(), ids=ORDERS)
@pytest.mark.reliability("kill")
@pytest.mark.slow
def test_a_resumed_epoch_sees_the_rows_that_remain_in_the_same_order(models, tmp_path, step, size, options):
    options = {"machine": EVERY_OTHER_STEP, "train": TRAIN.model_copy(update={"batch_size": size}), **options}
    whole, before, after = (RowsSeen(AutoTokenizer.from_pretrained(models / "student")) for _ in range(3))
    _, weights = fit(models, tmp_path, name="undisturbed", callbacks=[whole], **options)
    with pytest.raises(Killed):
        fit(models, tmp_path, callbacks=[KillAt(step), before], **options)
    resumed, others = fit(models, tmp_path, callbacks=[after], **options)
    epochs, updates = divmod(step - 1, -(-21 // size))
    trained = 21 * epochs + size * updates  # rows before the checkpoint
    assert resumed.resumed_from == step - 1
    assert before.rows == whole.rows[: len(before.rows)]
    assert after.rows == whole.rows[trained:]
    seen = before.rows[:trained] + after.rows
    orders = [tuple(seen[start : start + 21]) for start in range(0, len(seen) - 20, 21)]
    assert all(sorted(order) == list(range(21)) for order in orders)
    assert len(set(orders)) == len(orders) >= 2
    assert_same(weights, others)


@pytest.fixture(scope="module")
def killed(models, tmp_path_factory):
    """Checkpoints of a training that was killed at step 7, and the weights that it should have come to."""
    work = tmp_path_factory.mktemp("killed")
    _, weights = fit(models, work, name="undisturbed")
    with pytest.raises(Killed):
        fit(models, work, callbacks=[KillAt(7)], machine=EVERY_OTHER_STEP)
    return work / "checkpoints_out", weights


@pytest.mark.parametrize("damage", ["cut", "flipped", "unsealed", "half written"])
@pytest.mark.slow
def test_a_torn_checkpoint_is_passed_over_for_the_one_before(models, tmp_path, killed, damage):
    before, weights = killed
    checkpoints = shutil.copytree(before, tmp_path / "checkpoints_out")
    assert sorted(path.name for path in checkpoints.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-6"]
    last = checkpoints / "checkpoint-6"
    optimizer = (last / "optimizer.pt").read_bytes()
    match damage:
        case "cut":
            (last / "optimizer.pt").write_bytes(optimizer[:-100])
        case "flipped":
            (last / "optimizer.pt").write_bytes(optimizer[:5000] + b"\0\1" + optimizer[5002:])
        case "unsealed":
            (last / "whole.json").unlink()
        case "half written":  # the process died while it wrote the next one
            last.rename(checkpoints / ".writing")
    found = last_whole(checkpoints)
    assert (found.path.name, found.step) == ("checkpoint-4", 4)
    if damage == "flipped":
        resumed, others = fit(models, tmp_path)
        assert resumed.resumed_from == 4
        assert_same(weights, others)


def test_no_whole_checkpoint_means_starting_over(tmp_path):
    (tmp_path / "checkpoint-3").mkdir()
    assert last_whole(tmp_path) is None
    assert not (tmp_path / "checkpoint-3").exists()


def test_time_asks_for_checkpoints_too(models, tmp_path):
    fit(models, tmp_path, machine=MachineOptions(checkpoint_seconds=0))
    assert last_whole(tmp_path / "checkpoints_out").step == 11  # the last step is published, not saved


# Held-out rows


HELD = TRAIN.model_copy(update={"held_out": 0.3, "evaluations": 3})


def test_the_held_out_loss_is_that_of_the_model_before_and_after(models, tmp_path):
    summary, _ = fit(models, tmp_path, train=HELD)
    kept, held = hold_out(some_rows(), HELD.held_out)
    assert [step for step, _ in summary.held_out_loss] == [
        0,
        *sorted({round(n * summary.steps / 3) for n in (1, 2, 3)}),
    ]
    assert (summary.rows, summary.held_out_rows) == (len(kept), len(held))
    tokenizer = AutoTokenizer.from_pretrained(models / "student")
    for folder, (_, loss) in (
        (models / "student", summary.held_out_loss[0]),
        (tmp_path / "out", summary.held_out_loss[-1]),
    ):
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        total, count = 0.0, 0
        for row in held:
            prompt, target = encode_prompt(tokenizer, row.prompt), encode_target(tokenizer, row.target)
            logits = model(torch.tensor([prompt + target])).logits[0, len(prompt) - 1 : -1]
            total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(target), reduction="sum").detach())
            count += len(target)
        assert loss == pytest.approx(total / count, rel=1e-4)


@pytest.mark.parametrize(("base", "architecture"), [("student", "causal"), ("t5", "encoder-decoder")])
def test_looking_at_held_out_rows_does_not_change_the_training(models, tmp_path, base, architecture):
    options = {"base": base, "architecture": architecture}
    kept, _ = hold_out(some_rows(), HELD.held_out)
    _, watched = fit(models, tmp_path, name="watched", train=HELD, **options)
    _, plain = fit(models, tmp_path, name="plain", rows=kept, **options)
    assert_same(watched, plain)


def test_recipes_hold_out_the_same_questions():
    rows = some_rows(200)
    others = [row.model_copy(update={"target": " z", "source": "mentor"}) for row in rows for _ in range(2)]
    held = {row.qid for row in hold_out(rows, 0.2)[1]}
    assert held == {row.qid for row in hold_out(others, 0.2)[1]}
    assert 20 <= len(held) <= 60
    assert held < {row.qid for row in hold_out(rows, 0.4)[1]}


@pytest.mark.parametrize(("rows", "share"), [(some_rows(2), 0.01), (some_rows(1), 0.999)])
def test_holding_out_nothing_or_everything_is_refused(rows, share):
    with pytest.raises(UserError, match="would be held out"):
        hold_out(rows, share)
