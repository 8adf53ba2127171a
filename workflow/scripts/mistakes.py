"""Collect the mistakes among a student's answers to train questions, and count all other answers."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    questions: Path, completions: Path, verdicts: Path, mistakes: Path, summary: Path, student_answers: dict[str, Any]
) -> None:
    """Write one record for each mistake; the counts of the summary add up to all answers."""
    from distillery.config.review import StudentAnswers
    from distillery.files import write_json
    from distillery.peer_review.mistakes import find_mistakes
    from distillery.records import Completion, Question, Verdict, read_records, write_records

    found, counts = find_mistakes(
        read_records(questions, Question),
        read_records(completions, Completion),
        read_records(verdicts, Verdict),
        StudentAnswers.model_validate(student_answers),
    )
    write_records(mistakes, found)
    write_json(summary, counts)


run_script("mistakes", main, globals())
