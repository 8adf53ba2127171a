"""Reasoning Distillery: the library behind the workflow. It knows nothing of Snakemake.

The modules follow the stages: `tasks` (questions), `sampling` (completions), `verification` (verdicts), `rows`
(training rows), `training` (models), `scoring` (scores) and `tables`. `config` reads and checks the declarative files.
"""

__version__ = "0.1.0"
