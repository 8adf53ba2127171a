"""Each field of `Lora` changes the adapter as it says. What is read is the change of the merged weights.

An adapter adds (alpha / rank) B A to a matrix. B starts at zero and the first update of Adam moves each of its entries
by the learning rate, so after one update the change is (alpha / rank) * rate * sign * A: its size and rank are known.
"""

import pytest
import torch

from distillery.config.recipe import Lora

from .by_hand import base_model, largest_difference, load, train

RATE = 1e-3
ADAPTER = {"rank": 4, "alpha": 8, "dropout": 0.0, "targets": "all-linear"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def change(base, tmp_path):
    """Train one update with an adapter; return the change of every matrix."""
    before = dict(load(base).named_parameters())

    def of(changes: dict, seed: int = 0) -> dict[str, torch.Tensor]:
        settings = {"lora": {**ADAPTER, **changes}, "epochs": 1, "learning_rate": RATE}
        after = train(base, tmp_path / "out", settings, seed=seed).weights
        return {name: (weight - before[name]).detach() for name, weight in after.items() if name in before}

    return of


def rank(change) -> None:
    found: dict[int, set[int]] = {2: set(), 4: set()}
    for number in found:
        for matrix in change({"rank": number}).values():
            if matrix.ndim == 2 and float(matrix.abs().max()):
                values = torch.linalg.svdvals(matrix)
                found[number] |= {int((values > 1e-4 * values[0]).sum())}
    assert max(found[2]) == 2 and max(found[4]) == 4, found


def alpha(change) -> None:
    single, double = change({"alpha": 8}), change({"alpha": 16})
    changed = [name for name, matrix in single.items() if float(matrix.abs().max())]
    assert len(changed) == 7
    for name in changed:
        torch.testing.assert_close(double[name], 2 * single[name], rtol=0.05, atol=RATE / 100)
        # Rows of A are uniform over +-1 / sqrt(inputs); 4 of them are added with signs, times 8 / 4 * RATE.
        width = single[name].shape[1]
        expected = 8 / 4 * RATE * (4 / 3 / width) ** 0.5
        assert float(single[name].pow(2).mean().sqrt()) == pytest.approx(expected, rel=0.35), name


def dropout(change) -> None:
    without, dropped = change({}), change({"dropout": 0.5})
    assert largest_difference(without, dropped) > RATE / 10
    assert largest_difference(dropped, change({"dropout": 0.5})) == 0, "drawn by the seed of the training"
    assert largest_difference(without, change({}, seed=1)) > RATE / 10, "as A is"


def targets(change) -> None:
    projections = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    for chosen, expected in (("all-linear", projections), (["q_proj", "up_proj"], ("q_proj", "up_proj"))):
        changed = {name for name, matrix in change({"targets": chosen}).items() if float(matrix.abs().max())}
        assert {name.split(".")[-2] for name in changed} == set(expected)


CASES = {case.__name__: case for case in (rank, alpha, dropout, targets)}


def test_every_field_has_a_case():
    assert set(CASES) == set(Lora.model_fields) == set(ADAPTER)


@pytest.mark.parametrize("field", CASES)
def test_a_field_changes_what_it_says(change, field):
    CASES[field](change)
