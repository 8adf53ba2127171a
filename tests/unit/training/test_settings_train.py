"""Each field of `Train` changes the training as it says, and nothing else: compared with AdamW written out by hand."""

import hashlib
import itertools
import json
import math

import pytest
import torch

from distillery.config.recipe import Train
from distillery.errors import UserError

from .by_hand import (
    PLAIN,
    ROWS,
    base_model,
    cross_entropy,
    fit,
    largest_difference,
    load,
    target_logits,
    train,
    write_rows,
)

CLOSE = 2e-5
"""Of a weight after a few updates of about 1e-3: rounding of float32 in another order."""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def plain(base, tmp_path_factory):
    return train(base, tmp_path_factory.mktemp("plain") / "out")


def as_by_hand(settings: dict, updates: int = 3):
    """The stage fits as the reference does; the setting moves a weight by far more than rounding could."""

    def check(base, plain, tmp_path) -> None:
        made = train(base, tmp_path / "out", settings)
        weights, losses = fit(load(base), [ROWS] * updates, settings)
        assert made.losses == pytest.approx(losses, rel=1e-5)
        assert largest_difference(made.weights, weights) < CLOSE
        assert made.summary["steps"] == updates
        assert not settings or largest_difference(made.weights, plain.weights) > 10 * CLOSE

    return check


def batches(base, plain, tmp_path) -> None:
    """Each epoch has every row once, in batches of this many rows. The order is drawn, so any split may come."""
    still = {"batch_size": 2, "learning_rate": 1e-12, "epochs": 2}
    made = train(base, tmp_path / "out", still)
    assert made.summary["steps"] == 4 and made.summary["epochs"] == 2
    model = load(base)
    with torch.no_grad():
        loss = {
            pair: float(cross_entropy(model, [ROWS[n] for n in pair])) for pair in itertools.combinations(range(4), 2)
        }
    splits = [{(0, 1), (2, 3)}, {(0, 2), (1, 3)}, {(0, 3), (1, 2)}]
    expected = [sorted(loss[pair] for pair in split) for split in splits]
    for epoch in (made.losses[:2], made.losses[2:]):
        assert any(sorted(epoch) == pytest.approx(losses, rel=1e-5) for losses in expected)


def precision(base, plain, tmp_path) -> None:
    """bf16 computes in bfloat16 and keeps float32 weights: updates below half a unit in the last place add up."""
    small = {"learning_rate": 5e-5, "epochs": 6}
    made = train(base, tmp_path / "out", {"precision": "bf16", **small})
    before = dict(load(base).named_parameters())
    wanted, losses = fit(load(base), [ROWS] * 6, small)
    assert {tensor.dtype for tensor in made.weights.values()} == {torch.bfloat16}
    assert {tensor.dtype for tensor in plain.weights.values()} == {torch.float32}
    assert made.losses == pytest.approx(losses, rel=0.01) and made.losses[0] != pytest.approx(losses[0], rel=1e-6)
    moved, expected = 0.0, 0.0
    for name, weight in made.weights.items():
        large = (before[name].abs() > 1 / 64) & (before[name].abs() < 1 / 2)  # an update is under half a unit here
        direction = (wanted[name] - before[name]).detach()[large]
        moved += float(((weight.float() - before[name]).detach()[large] * direction.sign()).sum())
        expected += float(direction.abs().sum())
    assert moved == pytest.approx(expected, rel=0.2)


def max_length(base, plain, tmp_path) -> None:
    longest = max(len(prompt) + len(target) + 1 for prompt, target in ROWS)
    assert largest_difference(train(base, tmp_path / "out", {"max_length": longest}).weights, plain.weights) == 0
    with pytest.raises(UserError, match=f"of 4 rows are too long; the longest .* has {longest} tokens"):
        train(base, tmp_path / "refused", {"max_length": longest - 1})


def lora(base, plain, tmp_path) -> None:
    made = train(base, tmp_path / "out", {"lora": {"rank": 2}})
    assert made.weights.keys() == plain.weights.keys() and largest_difference(made.weights, plain.weights) > 1e-4


def held_rows(share: float, qids: list[str]) -> list[str]:
    """Questions whose digest falls into the first `share` of all digests."""
    return [q for q in qids if int(hashlib.sha256(f"0\0held out\0{q}".encode()).hexdigest()[:8], 16) < share * 16**8]


def held_out(base, plain, tmp_path) -> None:
    qids = [f"q{number:03}" for number in range(8)]
    rows = [(prompt, f"{target} {n}") for n, (prompt, target) in enumerate(ROWS * 2)]
    held = held_rows(0.4, qids)
    assert 2 <= len(held) <= 5, "else take other names"
    file = write_rows(tmp_path / "rows.jsonl", rows, qids)
    kept = [(q, row) for q, row in zip(qids, rows, strict=True) if q not in held]
    alone = write_rows(tmp_path / "kept.jsonl", [row for _, row in kept], [q for q, _ in kept])
    made = train(base, tmp_path / "out", {"held_out": 0.4}, rows=file)
    assert largest_difference(made.weights, train(base, tmp_path / "alone", rows=alone).weights) == 0
    lost = [row for q, row in zip(qids, rows, strict=True) if q in held]
    course = made.summary["held_out_loss"]
    with torch.no_grad():
        assert course[0] == [0, pytest.approx(float(cross_entropy(load(base), lost)), rel=1e-4)]
        assert course[-1][1] == pytest.approx(
            float(cross_entropy(load(tmp_path / "out" / "manifest.json"), lost)), 1e-4
        )
    assert made.summary["held_out_rows"] == len(held)


def evaluations(base, plain, tmp_path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", ROWS * 2)
    watch = {"held_out": 0.4, "epochs": 6, "batch_size": 8}
    courses = {times: train(base, tmp_path / "out", {**watch, "evaluations": times}, rows=rows) for times in (1, 3)}
    steps = {times: [step for step, _ in made.summary["held_out_loss"]] for times, made in courses.items()}
    assert steps == {1: [0, 6], 3: [0, 2, 4, 6]}
    assert largest_difference(courses[1].weights, courses[3].weights) == 0


def match_updates_of(base, plain, tmp_path) -> None:
    """Rules name the file of the other recipe's rows: 9 rows in batches of 4 are 3 updates an epoch."""
    other = write_rows(tmp_path / "other.jsonl", [*ROWS, *ROWS, ROWS[0]])
    made = train(base, tmp_path / "out", {"epochs": 2, "match_updates_of": "other"}, matched=other)
    weights, losses = fit(load(base), [ROWS] * 6, {})
    assert made.losses == pytest.approx(losses, rel=1e-5) and largest_difference(made.weights, weights) < CLOSE


CASES = {
    "epochs": [as_by_hand({"epochs": 5}, updates=5)],
    "updates": [as_by_hand({"epochs": 5, "updates": 2}, updates=2)],
    "batch_size": [batches],
    "learning_rate": [as_by_hand({"learning_rate": 3e-3})],
    "schedule": [
        as_by_hand({"schedule": "linear", "epochs": 6}, updates=6),
        as_by_hand({"schedule": "cosine", "epochs": 6}, updates=6),
    ],
    "warmup": [
        as_by_hand({"warmup": 0.5, "schedule": schedule, "epochs": 6}, updates=6)
        for schedule in ("constant", "linear", "cosine")
    ],
    "weight_decay": [as_by_hand({"weight_decay": 50.0})],
    "max_grad_norm": [as_by_hand({"max_grad_norm": 1e-7}), as_by_hand({"max_grad_norm": 0.5, "learning_rate": 3e-3})],
    "max_length": [max_length],
    "precision": [precision],
    "lora": [lora],
    "held_out": [held_out],
    "evaluations": [evaluations],
    "match_updates_of": [match_updates_of],
}


def test_every_field_has_a_case():
    assert set(CASES) == set(Train.model_fields) == set(PLAIN)


def test_a_plain_training_is_as_by_hand(base, plain, tmp_path):
    as_by_hand({})(base, plain, tmp_path)
    assert plain.summary["target_tokens"] == 3 * sum(len(target) + 1 for _, target in ROWS)
    assert plain.summary["total_tokens"] == 3 * sum(len(prompt) + len(target) + 1 for prompt, target in ROWS)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{field}-{n}") for field, cases in CASES.items() for n, case in enumerate(cases)]
)
def test_a_field_changes_what_it_says(base, plain, tmp_path, case):
    case(base, plain, tmp_path)


def test_an_encoder_decoder_is_fitted_as_by_hand(tmp_path):
    """Targets of unequal length in one batch: their padding carries no loss, and prompts are not attended beyond."""
    base = base_model(tmp_path / "t5", architecture="encoder-decoder")
    made = train(base, tmp_path / "out", {"epochs": 2})
    weights, losses = fit(load(base), [ROWS] * 2, {"epochs": 2})
    assert made.losses == pytest.approx(losses, rel=1e-5)
    assert largest_difference(made.weights, weights) < CLOSE


@pytest.mark.parametrize(
    ("architecture", "config"), [("encoder-decoder", {"dropout_rate": 0.3}), ("causal", {"attention_dropout": 0.3})]
)
def test_the_seed_decides_dropout(tmp_path, architecture, config):
    """All rows are in one batch, so their order cannot matter; nothing else is drawn."""
    base = base_model(tmp_path / "base", architecture=architecture, config=config)
    runs = []
    for number, seed in enumerate((3, 3, 4)):
        torch.manual_seed(100 + number)  # what was drawn before does not count
        runs.append(train(base, tmp_path / f"out{number}", {"epochs": 1}, seed=seed))
    assert largest_difference(runs[0].weights, runs[1].weights) == 0
    assert largest_difference(runs[0].weights, runs[2].weights) > 1e-4
    with torch.no_grad():
        still = float(cross_entropy(load(base).eval(), ROWS))
    assert runs[0].losses[0] != pytest.approx(still, rel=1e-5), "dropout is on while the student trains"


@pytest.mark.parametrize(("loss_weight", "way"), [(1.0, "exact"), (0.25, "exact"), (0.25, "online")])
def test_soft_labels_are_those_of_the_given_mentor_without_its_dropout(base, tmp_path, loss_weight, way):
    mentor = base_model(tmp_path / "mentor", seed=7, config={"attention_dropout": 0.5})
    objective = {"loss": "mentor-kd", "lambda": loss_weight, "temperature": 2.0, "soft_labels": way}
    runs = [train(base, tmp_path / f"out{n}", {"epochs": 1}, objective=objective, mentor=mentor) for n in range(2)]
    total, tokens = 0.0, 0
    student, teacher = load(base).eval(), load(mentor).eval()
    with torch.no_grad():
        for row in ROWS:
            from_student, target = target_logits(student, row)
            from_teacher, _ = target_logits(teacher, row)
            p, q = (from_teacher / 2).log_softmax(-1), (from_student / 2).log_softmax(-1)
            total += float((p.exp() * (p - q)).sum())
            tokens += len(target)
        expected = loss_weight * total / tokens + (1 - loss_weight) * float(cross_entropy(student, ROWS))
    assert runs[0].losses == pytest.approx([expected], rel=1e-5)
    assert largest_difference(runs[0].weights, runs[1].weights) == 0


def test_a_model_says_what_it_was_trained_from(base, plain, tmp_path):
    """Its rows by digest, and the base by identity: keys of all that follows are made from these."""
    rows = (plain.folder / "rows.jsonl").read_bytes()
    told = plain.manifest["training"]
    assert told["rows_sha256"] == hashlib.sha256(rows).hexdigest() and told["steps"] == 3
    assert told["base"] == json.loads(base.read_text())["identity"] != plain.manifest["identity"]
    assert plain.manifest["identity"] != train(base, tmp_path / "out", {"epochs": 2}).manifest["identity"]


def test_updates_are_counted_to_the_full_batch_or_beyond(base, tmp_path):
    rows = write_rows(tmp_path / "rows.jsonl", [*ROWS, ROWS[0]])
    made = train(base, tmp_path / "out", {"epochs": 2}, rows=rows)
    assert made.summary["steps"] == 2 * math.ceil(5 / 4)
