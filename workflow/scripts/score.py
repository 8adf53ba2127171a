"""Score predictions against gold: accuracy with its interval, failures counted, every question kept."""

from pathlib import Path
from typing import Any

from distillery.running import run_script


def main(
    questions: Path, predictions: Path, graded: Path, scores: Path, graders: dict[str, Any], delimiter: str | None
) -> None:
    """Write the graded predictions, one a question, and the scores of every grader."""
    from distillery.config.task import Grader
    from distillery.files import write_json
    from distillery.records import Completion, Question, read_records, write_records
    from distillery.scoring import score

    rows, summary = score(
        read_records(predictions, Completion),
        read_records(questions, Question),
        {name: Grader.model_validate(section) for name, section in graders.items()},
        delimiter,
    )
    write_records(graded, rows)
    write_json(scores, summary)


run_script("score", main, globals())
