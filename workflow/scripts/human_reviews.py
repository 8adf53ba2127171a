"""Read a filled sheet as the reviews of a person, checked row by row."""

from pathlib import Path

from distillery.jobs.runner import run_script


def main(
    sheet: Path,
    rationales: list[Path],
    reviews: Path,
    reviewer: str,
    routing: dict[str, list[str]],
    verdicts: Path | None = None,
    grader: str = "robust",
) -> None:
    """Write one review for each row of the sheet; all faults of the sheet are reported at once."""
    from distillery.peer_review.assignments import read_assignments
    from distillery.peer_review.human_sheets import read_sheet
    from distillery.records import write_records

    todo, _ = read_assignments(rationales, routing, verdicts, grader)
    write_records(reviews, read_sheet(sheet, todo, reviewer=reviewer))


run_script("human_reviews", main, globals())
