"""Objectives: what a student is trained to do. Each is one module: its settings, its needs, its loss.

    cross_entropy   imitate the target text
    mentor_kd       imitate the target text and a mentor's distribution over the next token
    two_task        imitate feedback and rationale of a pair, each with its weight

A module has a subclass of `distillery.config.extensions.Objective`. Its fields are the settings in a recipe, with
`loss: Literal["<name>"]`; `needs` names what the trainer has to provide; `compute(batch)` is the loss, and `counts` is
there where the loss divides by something other than the target tokens. Torch is imported inside of methods, as settings
are read without it.

| need                 | what the trainer provides                                                            |
|----------------------|--------------------------------------------------------------------------------------|
| `mentor`             | `batch.mentor`: what a mentor of the same vocabulary expects, as `soft_label_form`   |
| `pairs`              | batches of pairs of rows, and `batch.feedback`: which positions are of the feedback  |
| `all-positions`      | logits and labels at every position, (batch, tokens, ...), not only those with loss  |
| `equal-width`        | every batch padded to the longest row of all                                         |
| `supervised-padding` | rows filled up to `max_length` with stop tokens that carry loss                      |
"""

from distillery.config.extensions import Objective
from distillery.training.objectives.cross_entropy import CrossEntropy
from distillery.training.objectives.mentor_kd import MentorKD
from distillery.training.objectives.two_task import TwoTask

OBJECTIVES: dict[str, type[Objective]] = {
    "cross-entropy": CrossEntropy,
    "mentor-kd": MentorKD,
    "two-task": TwoTask,
}
"""Name in recipes (`objective.loss`) -> objective."""

_ALL = frozenset({"mentor", "pairs", "all-positions", "equal-width"})

TRAINERS = {"causal": _ALL | {"supervised-padding"}, "encoder-decoder": _ALL}
"""What each trainer provides: architecture -> needs. The public code whose padding is supervised is causal."""
