"""Intervals agree with other people's code and with bootstraps written out here, and are 95 % intervals."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from distillery.evaluation.intervals import difference_interval, pooled_interval, wilson


@pytest.mark.parametrize(("right", "asked"), [(0, 7), (1, 7), (58, 200), (81, 263), (199, 200), (1319, 1319)])
def test_wilson_is_that_of_statsmodels(right, asked):
    low, high = proportion_confint(right, asked, alpha=0.05, method="wilson")
    assert wilson(right, asked) == pytest.approx((100 * low, 100 * high), abs=1e-9)


def runs(seeds: int, questions: int, shares: list[float], seed: int) -> list[list[bool]]:
    draw = np.random.default_rng(seed)
    return [[bool(hit) for hit in draw.random(questions) < shares[number]] for number in range(seeds)]


def redrawn_means(right: list[list[bool]], questions: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Mean accuracy in percent under each redrawing of the questions, with seeds redrawn by `draw`."""
    table = np.array(right, dtype=float)
    means = []
    for chosen in questions:
        seeds = draw.integers(len(table), size=len(table))
        means.append(100 * table[seeds][:, chosen].mean())
    return np.array(means)


RESAMPLES = 8000


def test_a_pooled_interval_holds_95_percent_of_redrawn_questions_and_seeds():
    ours = runs(3, 120, [0.35, 0.5, 0.6], seed=1)
    draw = np.random.default_rng(7)
    means = redrawn_means(ours, draw.integers(120, size=(RESAMPLES, 120)), draw)
    expected = np.percentile(means, [2.5, 97.5])
    width = expected[1] - expected[0]
    # A 90 % interval would be 16 % narrower: 8 % of the width at each end.
    assert pooled_interval(ours) == pytest.approx(tuple(expected), abs=0.04 * width)


def test_the_interval_of_a_difference_redraws_the_questions_together_and_the_seeds_apart():
    ours, theirs = runs(3, 120, [0.35, 0.5, 0.6], seed=1), runs(3, 120, [0.3, 0.4, 0.55], seed=2)
    draw = np.random.default_rng(8)
    questions = draw.integers(120, size=(RESAMPLES, 120))
    differences = redrawn_means(ours, questions, draw) - redrawn_means(theirs, questions, draw)
    expected = np.percentile(differences, [2.5, 97.5])
    assert difference_interval(ours, theirs) == pytest.approx(tuple(expected), abs=0.04 * (expected[1] - expected[0]))


def test_two_arms_with_equal_runs_differ_by_the_choice_of_their_seeds():
    # One seed right everywhere, one nowhere: of the 16 pairs of draws one gives +100 and one -100, 6.25 % each.
    opposite = [[True] * 10, [False] * 10]
    assert difference_interval(opposite, opposite) == (-100, 100)
