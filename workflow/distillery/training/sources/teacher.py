"""`from: teacher`: the rationales of the setup's teacher."""

from distillery.config.extensions import RowSource
from distillery.training.sources.common import rows_of_completions

SOURCE = RowSource(rows_of_completions, sampler="teacher", form="text")
