"""`from: programs`: the programs of the setup's teacher that writes programs (PaD)."""

from distillery.config.extensions import RowSource
from distillery.training.sources.common import rows_of_completions

SOURCE = RowSource(rows_of_completions, sampler="program_teacher", form="program")
