"""Compare the outputs of an experiment's arms: loss, spread, programs that run, errors before and after refinement."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    scores: list[Path],
    graded: list[Path],
    costs: list[Path],
    rounds: list[Path],
    markdown: Path,
    csv: Path,
    svg: Path,
    png: Path,
    experiment: dict[str, Any],
    cells: list[dict[str, Any]],
    refined: dict[str, str],
) -> None:
    """Write the numbers and the figure.

    Args:
        cells: One `Cell` section for each score. `refined`: scores file -> file of rounds, for arms that have one.
    """
    from distillery.config.experiment import Experiment
    from distillery.evaluation.figures import save_figure
    from distillery.evaluation.output_space import draw_study, study, write_study
    from distillery.evaluation.table_records import Cell

    table = Experiment.model_validate(experiment)
    versions = {score: Path(path) for score, path in refined.items()}
    arms = study([Cell.model_validate(cell) for cell in cells], versions, table.grader)
    write_study(arms, table.title, markdown, csv)
    save_figure(draw_study(arms, table.title), svg, png)


run_script("output_space", main, globals())
