"""Import a released exchange between a student, its teachers and reviewers, as the committee's own stages write it."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    questions: Path,
    files: list[Path],
    mistakes: Path,
    rationales: Path,
    feedback: Path,
    reviews: Path,
    summary: Path,
    task: str,
    released: dict[str, Any],
) -> None:
    """Write mistakes, rationales, feedback and reviews, and the counts of the acceptances that were released.

    Args:
        questions: The task's train questions; those of the release are found among them by their text.
        files: The release's files: a change in them is a change of this job's inputs.
    """
    from distillery.files import write_json
    from distillery.peer_review.records import Taught
    from distillery.peer_review.released import as_task, golden, mapd_exchange
    from distillery.records import Question, read_records, write_records

    found = mapd_exchange(Path(released["folder"]), task, stem=released["stem"], checked=released["checked"])
    counts = golden(found)
    exchange = as_task(found, list(read_records(questions, Question)), files[0])
    write_records(mistakes, exchange.mistakes)
    for path, written in ((rationales, exchange.rationales), (feedback, exchange.feedback)):
        write_records(path, (Taught.model_validate(completion.model_dump()) for completion in written))
    write_records(reviews, exchange.reviews)
    write_json(summary, counts)


run_script("import_release", main, globals())
