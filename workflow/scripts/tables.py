"""Make one experiment's table (Markdown, CSV, Parquet, HTML) and its figure (SVG, PNG)."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    scores: list[Path],
    graded: list[Path],
    costs: list[Path],
    questions: list[Path],
    markdown: Path,
    csv: Path,
    parquet: Path,
    html: Path,
    svg: Path,
    png: Path,
    experiment: dict[str, Any],
    cells: list[dict[str, Any]],
) -> None:
    """Write the table in four forms and the figure in two.

    Args:
        cells: One `Cell` section for each score, in the order of the experiment file; they name the other inputs.
    """
    from distillery.config.experiment import Experiment
    from distillery.evaluation.figures import draw, save_figure
    from distillery.evaluation.table_formats import write_csv, write_html, write_markdown, write_parquet
    from distillery.evaluation.table_records import Cell
    from distillery.evaluation.tables import build_table

    table = build_table(Experiment.model_validate(experiment), [Cell.model_validate(cell) for cell in cells])
    write_markdown(table, markdown)
    write_csv(table, csv)
    write_parquet(table, parquet)
    write_html(table, html)
    save_figure(draw(table, Experiment.model_validate(experiment).figure), svg, png)


run_script("tables", main, globals())
