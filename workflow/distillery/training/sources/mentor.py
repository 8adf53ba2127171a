"""`from: mentor`: the completions of the recipe's trained mentor (augmentation)."""

from distillery.config.extensions import RowSource
from distillery.training.sources.common import rows_of_completions

SOURCE = RowSource(rows_of_completions, sampler="mentor")
