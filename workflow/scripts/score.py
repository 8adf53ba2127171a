"""Score predictions against gold: accuracy with its interval, failures counted, every question kept."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    questions: Path,
    predictions: Path,
    graded: Path,
    scores: Path,
    graders: dict[str, Any],
    reading: dict[str, Any],
    rounds: Path | None = None,
) -> dict[str, Any]:
    """Write the graded predictions, one a question, and the scores of every grader.

    Args:
        rounds: All versions of the predictions, where the student refined them: adds the accuracy after each round.
    """
    from distillery.config.task import Grader
    from distillery.evaluation.score import score, score_rounds
    from distillery.files import write_json
    from distillery.records import Completion, Draft, Question, read_records, write_records
    from distillery.verification.judge import Reading

    asked = list(read_records(questions, Question))
    rules = {name: Grader.model_validate(section) for name, section in graders.items()}
    how = Reading.model_validate(reading)
    rows, summary, work = score(read_records(predictions, Completion), asked, rules, how)
    if rounds is not None:
        summary["rounds"] = score_rounds(read_records(rounds, Draft), asked, rules, how)
    write_records(graded, rows)
    write_json(scores, summary)
    return work


run_script("score", main, globals())
