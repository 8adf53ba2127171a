"""Write the sheet that a person fills in to review the committee's rationales."""

from pathlib import Path

from distillery.jobs.runner import run_script


def main(
    mistakes: Path,
    rationales: list[Path],
    sheet: Path,
    reviewer: str,
    routing: dict[str, list[str]],
    hint: str,
    verdicts: Path | None = None,
    grader: str = "robust",
) -> None:
    """Write one row for each rationale, in an order that does not reveal its author."""
    from distillery.peer_review.assignments import read_assignments
    from distillery.peer_review.human_sheets import write_sheet
    from distillery.peer_review.records import Mistake
    from distillery.records import read_records

    todo, _ = read_assignments(rationales, routing, verdicts, grader)
    write_sheet(todo, list(read_records(mistakes, Mistake)), sheet, reviewer=reviewer, hint=hint != "none")


run_script("review_sheet", main, globals())
