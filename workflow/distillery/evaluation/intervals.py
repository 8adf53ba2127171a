"""Uncertainty of accuracies: 95 % intervals, in percent.

    one run       wilson                the questions are a sample of all possible questions
    several runs  pooled_interval       questions and seeds are both resampled (crossed bootstrap)
    two arms      difference_interval   the same resampled questions for both; each arm has its own resampled seeds

The bootstrap is seeded and adds whole numbers only, so that equal verdicts give equal intervals on every machine.
With two or three seeds it underestimates the spread between seeds.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# 97.5th percentile of the normal distribution, to double precision.
Z = 1.959963984540054

RESAMPLES = 2000
"""Enough that the ends of an interval vary with the bootstrap seed by about a thirtieth of its width."""

# Independent random streams: for questions, for seeds, and for the baseline's seeds.
QUESTIONS, SEEDS, BASELINE_SEEDS = range(3)


def wilson(right: int, asked: int) -> tuple[float, float]:
    """The Wilson score interval of `right` out of `asked`, as (low, high) in percent.

    >>> [round(end, 1) for end in wilson(8, 10)]
    [49.0, 94.3]

    Raises:
        ValueError: `asked` is not positive, or `right` is not between 0 and `asked`.
    """
    if not 0 <= right <= asked or asked < 1:
        raise ValueError(f"{right} right out of {asked} is no proportion")
    share, spread = right / asked, Z * Z / asked
    centre = (share + spread / 2) / (1 + spread)
    half = Z * sqrt(share * (1 - share) / asked + spread / asked / 4) / (1 + spread)
    # With no or all answers right one end is exactly 0 or 100; rounding errors must not move it beyond.
    low = 0.0 if right == 0 else centre - half
    high = 1.0 if right == asked else centre + half
    return 100 * low, 100 * high


def pooled_interval(runs: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """The interval of the mean accuracy over `runs`, as (low, high) in percent.

    Args:
        runs: (seeds, questions); whether the run of that seed got that question right, questions in one order.

    Raises:
        ValueError: There is no question, or the runs differ in how many they answered.
    """
    right = _matrix(runs)
    seeds, questions = right.shape
    if right.min() == right.max():
        # Equal verdicts stay equal in every resample: an interval without width would claim certainty.
        return wilson(questions if right.max() else 0, questions)
    return _percentiles(_resampled(right, SEEDS) / (seeds * questions))


def difference_interval(runs: Sequence[Sequence[bool]], baseline: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """The interval of the mean accuracy of `runs` minus that of `baseline`, as (low, high) in percentage points.

    Args:
        runs: (seeds, questions); as in `pooled_interval`.
        baseline: The same questions in the same order; the number of seeds may differ.

    Raises:
        ValueError: There is no question, or the numbers of questions differ.
    """
    ours, theirs = _matrix(runs), _matrix(baseline)
    if ours.shape[1] != theirs.shape[1]:
        raise ValueError(f"{ours.shape[1]} questions against {theirs.shape[1]} of the baseline cannot be paired")
    return _percentiles(_resampled(ours, SEEDS) / ours.size - _resampled(theirs, BASELINE_SEEDS) / theirs.size)


def _matrix(runs: Sequence[Sequence[bool]]) -> "np.ndarray":
    import numpy as np

    if not runs or not runs[0] or len({len(run) for run in runs}) != 1:
        raise ValueError(f"runs of {[len(run) for run in runs]} questions; expected equal numbers above 0")
    return np.array(runs, dtype=np.float64)


def _resampled(right: "np.ndarray", stream: int) -> "np.ndarray":
    """(resamples,): the weighted count of right answers in each resample, a whole number."""
    seeds, questions = right.shape
    return ((_weights(seeds, stream) @ right) * _weights(questions, QUESTIONS)).sum(axis=1)


# The rows of a table share few sizes, and random numbers take longer than all the rest.
@lru_cache(maxsize=8)
def _weights(size: int, stream: int) -> "np.ndarray":
    """(resamples, size): how often each of `size` things is in a resample of `size` with replacement."""
    import numpy as np

    draw = np.random.default_rng([20240817, stream, size])
    counts = [np.bincount(draw.integers(size, size=size), minlength=size) for _ in range(RESAMPLES)]
    return np.array(counts, dtype=np.float64)


def _percentiles(means: "np.ndarray") -> tuple[float, float]:
    import numpy as np

    low, high = np.percentile(100 * means, [2.5, 97.5])
    return float(low), float(high)
