"""Read a filled sheet as the reviews of a person, checked row by row."""

from pathlib import Path

from distillery.running import run_script


def main(sheet: Path, rationales: list[Path], reviews: Path, reviewer: str, routing: dict[str, list[str]]) -> None:
    """Write one review for each row of the sheet; all faults of the sheet are told at once."""
    from distillery.records import read_records, write_records
    from distillery.review.records import Taught
    from distillery.review.routing import assignments
    from distillery.review.sheets import read_sheet

    todo, _ = assignments((one for path in rationales for one in read_records(path, Taught)), routing)
    write_records(reviews, read_sheet(sheet, todo, reviewer=reviewer))


run_script("human_reviews", main, globals())
