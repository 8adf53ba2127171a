"""The objective two-task: feedback and rationale of one mistake, weighed against each other in one update."""

import random

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import pad
from transformers import AutoModelForCausalLM, AutoTokenizer

from distillery.config.model import RandomModel
from distillery.config.recipe import Train
from distillery.errors import UserError
from distillery.models.sources import prepare_model
from distillery.models.tokenization import encode_rows
from distillery.records import TrainingRow
from distillery.training.batches import CausalCollator, PairCollator
from distillery.training.losses import IGNORE, cross_entropy_loss
from distillery.training.objectives.cross_entropy import CrossEntropy
from distillery.training.objectives.two_task import TwoTask, two_task_loss
from distillery.training.train import MachineOptions, TrainingJob, train_model
from distillery.training.units import collator_of, dataset_of, units_of

SFT = CrossEntropy(loss="cross-entropy")
BOTH = TwoTask(loss="two-task")
PUBLISHED = BOTH.model_copy(update={"mask_padding": False})
TRAIN = Train(epochs=2, batch_size=4, learning_rate=1e-3, precision="fp32", max_length=64)


# The loss

TOKENS, WIDTH = 7, 11


def a_batch():
    """Logits with gradient and labels of two pairs, and which positions are feedback; tasks of unequal length."""
    chance = torch.Generator().manual_seed(0)
    logits = torch.randn(4, TOKENS, WIDTH, generator=chance).requires_grad_()
    labels = torch.randint(WIDTH, (4, TOKENS), generator=chance)
    labels[:, :2] = IGNORE
    labels[0, 3:] = IGNORE
    feedback = torch.tensor([True, False, True, False])[:, None].expand(4, TOKENS)
    return logits, labels, feedback


def of_task(task):
    logits, labels, feedback = a_batch()
    return cross_entropy_loss(logits[feedback == task], labels[feedback == task])


def test_the_loss_by_hand():
    """One token a task, two words: softmax of (0, ln 3) is (1/4, 3/4)."""
    logits = torch.tensor([[1.0, 3.0], [1.0, 1.0]]).log()
    loss = two_task_loss(logits, torch.tensor([1, 0]), torch.tensor([True, False]), alpha=0.25)
    by_hand = 0.25 * torch.log(torch.tensor(4 / 3)) + 0.75 * torch.log(torch.tensor(2.0))
    torch.testing.assert_close(loss, by_hand)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_with_all_weight_on_one_task_the_loss_is_its_own_bit_for_bit(alpha):
    logits, labels, feedback = a_batch()
    loss = two_task_loss(logits, labels, feedback, alpha=alpha)
    assert torch.equal(loss, of_task(alpha == 1))
    gradient = torch.autograd.grad(loss, logits)[0]
    assert gradient[feedback == (alpha == 0)].abs().max() == 0


def test_the_loss_is_the_weighted_sum_of_means_whatever_the_lengths():
    loss = two_task_loss(*a_batch(), alpha=0.3)
    torch.testing.assert_close(loss, 0.3 * of_task(True) + 0.7 * of_task(False))


@pytest.mark.parametrize("width", [1, 60])
def test_padding_does_not_change_the_loss(width):
    logits, labels, feedback = a_batch()
    padded = two_task_loss(
        pad(logits, (0, 0, 0, width), value=3.0),
        pad(labels, (0, width), value=IGNORE),
        pad(feedback, (0, width)),
        alpha=0.5,
    )
    torch.testing.assert_close(padded, two_task_loss(logits, labels, feedback, alpha=0.5))


def test_micro_batches_add_up_to_the_batch():
    logits, labels, feedback = a_batch()
    items = torch.stack([((labels != IGNORE) & mask).sum() for mask in (feedback, ~feedback)])
    parts = [
        two_task_loss(logits[at : at + 2], labels[at : at + 2], feedback[at : at + 2], alpha=0.3, items=items)
        for at in (0, 2)
    ]
    torch.testing.assert_close(sum(parts), two_task_loss(logits, labels, feedback, alpha=0.3))
    means = [two_task_loss(logits[at : at + 2], labels[at : at + 2], feedback[at : at + 2], alpha=0.3) for at in (0, 2)]
    assert not torch.isclose(sum(means) / 2, sum(parts), rtol=1e-3)  # a mean of means weighs tokens unequally


def test_a_task_with_weight_but_without_tokens_is_refused():
    logits, labels, feedback = a_batch()
    with pytest.raises(ValueError, match="no token carries loss"):
        two_task_loss(logits, labels, torch.zeros_like(feedback), alpha=0.5)
    with pytest.raises(ValueError, match="do not fit"):
        two_task_loss(logits, labels, feedback[:, :3], alpha=0.5)


# Rows, pairs, batches


def a_row(number, source, prompt, target):
    return TrainingRow(
        qid=f"q{number:03}", source=source, sample_index=0, completion_id=None, prompt=prompt, target=target
    )


def some_rows(count=9):
    chance = random.Random(0)
    rows = []
    for number in range(count):
        question = "x" * chance.randint(1, 9)
        rows += [
            a_row(number, "feedback", f"Q: {question} Wrong: z\nA:", f" {'y' * chance.randint(9, 20)}"),
            a_row(number, "rationale", f"Q: {question}\nA:", f" {'y' * chance.randint(2, 9)} --> {number}"),
        ]
    return rows


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    prepare_model(
        RandomModel(kind="random", layers=2, hidden_size=32, seed=0), folder / "student", parent=None, downloads=folder
    )
    return folder


def fit(models, work, rows, objective, *, name="out", train=TRAIN, **options):
    job = TrainingJob(
        models / "student", work / name, work / f"checkpoints_{name}", train, objective, "causal", seed=1, **options
    )
    return train_model(rows, job), load_file(work / name / "model.safetensors")


def units(models, rows, objective):
    tokenizer = AutoTokenizer.from_pretrained(models / "student")
    return tokenizer, units_of(
        rows, objective, lambda rows: encode_rows(rows, tokenizer, architecture="causal", max_length=64)
    )


def batch_of(models, rows, objective):
    tokenizer, found = units(models, rows, objective)
    collate = collator_of(found, tokenizer, train=TRAIN, objective=objective, architecture="causal")
    return tokenizer, collate(list(dataset_of(found, objective)))


def test_both_rows_of_a_pair_are_in_one_batch_whatever_the_order_of_the_rows(models):
    rows = some_rows(3)
    tokenizer, batch = batch_of(models, [*rows[::-2], *rows[::2]], BOTH)
    assert batch["feedback"].tolist() == [True, False] * 3
    for given, row in zip(
        batch["labels"], [row for pair in (2, 1, 0) for row in rows[2 * pair : 2 * pair + 2]], strict=True
    ):
        assert tokenizer.decode(given[given != IGNORE][:-1]) == row.target


def test_the_published_padding_carries_loss_up_to_the_full_length(models):
    rows = some_rows(2)
    tokenizer, batch = batch_of(models, rows, PUBLISHED)
    _, masked = batch_of(models, rows, BOTH)
    stop = tokenizer.eos_token_id
    assert batch["input_ids"].shape == (4, TRAIN.max_length)
    assert batch["attention_mask"].all()
    for published, ours in zip(batch["labels"], masked["labels"], strict=True):
        target = ours[ours != IGNORE]
        supervised = published[published != IGNORE]
        assert supervised[: len(target)].tolist() == target.tolist()
        assert set(supervised[len(target) :].tolist()) == {stop}
        assert (target == stop).sum() == 1


def test_rows_that_are_no_pairs_are_refused_by_name(models):
    rows = some_rows(2)
    for given, words in [
        (rows[:3], "row q001/feedback/0: there is no rationale row"),
        (rows[1:], "row q000/rationale/0: there is no feedback row"),
        ([*rows, rows[0]], "row q000/feedback/0: there are two rows"),
        ([*rows, a_row(9, "teacher", "Q", "A")], "row q009/teacher/0: the objective two-task takes"),
    ]:
        with pytest.raises(UserError, match=words):
            units(models, given, BOTH)


def test_the_published_padding_is_refused_for_an_encoder_decoder(models, tmp_path):
    job = TrainingJob(models / "student", tmp_path / "out", tmp_path, TRAIN, PUBLISHED, "encoder-decoder", seed=1)
    with pytest.raises(UserError, match=r"objective.mask_padding = False: .*lacks supervised-padding"):
        train_model(some_rows(1), job)


# Training


def test_the_first_loss_is_the_weighted_sum_of_the_base_models_losses(models, tmp_path):
    rows = some_rows(4)
    summary, _ = fit(models, tmp_path, rows, BOTH.model_copy(update={"alpha": 0.3}), steps=1)
    model = AutoModelForCausalLM.from_pretrained(models / "student")
    tokenizer = AutoTokenizer.from_pretrained(models / "student")
    losses = {}
    for task in ("feedback", "rationale"):
        examples = encode_rows([r for r in rows if r.source == task], tokenizer, architecture="causal", max_length=64)
        batch = CausalCollator(2)([{"prompt_ids": one.prompt_ids, "target_ids": one.target_ids} for one in examples])
        losses[task] = model(**batch).loss.item()
    assert summary.final_loss == pytest.approx(0.3 * losses["feedback"] + 0.7 * losses["rationale"], rel=1e-5)


def test_the_published_loss_is_that_of_the_base_model_on_padded_rows(models, tmp_path):
    """As the public code computes it: the model's own loss on each task's padded batch."""
    rows = some_rows(4)
    summary, _ = fit(models, tmp_path, rows, PUBLISHED, steps=1)
    _, batch = batch_of(models, rows, PUBLISHED)
    model = AutoModelForCausalLM.from_pretrained(models / "student")
    feedback = batch.pop("feedback")
    losses = [
        model(**{key: value[feedback == task] for key, value in batch.items()}).loss.item() for task in (True, False)
    ]
    assert summary.final_loss == pytest.approx(sum(losses) / 2, rel=1e-5)


@pytest.mark.parametrize(("alpha", "task"), [(0.0, "rationale"), (1.0, "feedback")])
def test_with_all_weight_on_one_task_it_is_plain_training_on_its_rows_bit_for_bit(models, tmp_path, alpha, task):
    rows = some_rows()
    joint, weights = fit(models, tmp_path, rows, BOTH.model_copy(update={"alpha": alpha}), name="joint")
    plain, others = fit(models, tmp_path, [row for row in rows if row.source == task], SFT, name="plain")
    assert all(torch.equal(weights[name], others[name]) for name in others)
    assert (joint.rows, joint.target_tokens, joint.steps) == (plain.rows, plain.target_tokens, plain.steps)


@pytest.mark.parametrize("objective", [BOTH, PUBLISHED], ids=["masked", "published"])
def test_gradient_accumulation_changes_nothing(models, tmp_path, objective):
    """Nine pairs in batches of four: the last batch is not full, and tasks differ in length."""
    rows = some_rows()
    whole, weights = fit(models, tmp_path, rows, objective, name="whole")
    parts, others = fit(models, tmp_path, rows, objective, name="parts", machine=MachineOptions(device_batch_size=1))
    assert parts.steps == whole.steps == 6
    assert (whole.rows, whole.epochs) == (18, 2.0)
    assert [loss for _, loss in parts.loss_history] == pytest.approx([loss for _, loss in whole.loss_history], rel=1e-4)
    for name in weights:
        torch.testing.assert_close(weights[name], others[name], rtol=1e-3, atol=1e-4)


def test_supervised_padding_trains_another_student(models, tmp_path):
    _, masked = fit(models, tmp_path, some_rows(), BOTH, name="masked")
    _, published = fit(models, tmp_path, some_rows(), PUBLISHED, name="published")
    assert any(not torch.allclose(masked[name], published[name]) for name in masked)


def test_eight_pairs_can_be_learnt(models, tmp_path):
    train = TRAIN.model_copy(update={"epochs": 25, "learning_rate": 1e-2})
    summary, _ = fit(models, tmp_path, some_rows(8), BOTH, train=train)
    assert summary.final_loss < 0.25 * summary.loss_history[0][1]


def test_a_collator_of_pairs_takes_single_rows_too():
    feature = {"feedback": [True], "prompt_ids": [[3, 4]], "target_ids": [[5]]}
    batch = PairCollator(CausalCollator(0))([feature, {**feature, "target_ids": [[5, 6]]}])
    assert batch["labels"].tolist() == [[IGNORE, IGNORE, 5, IGNORE], [IGNORE, IGNORE, 5, 6]]
    assert batch["feedback"].tolist() == [True, True]
