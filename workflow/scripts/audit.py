"""Audit a peer review: who scores how, who agrees with whom, and what the answer check says."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    rationales: list[Path],
    reviews: list[Path],
    verdicts: Path,
    acceptances: Path,
    figures: Path,
    markdown: Path,
    html: Path,
    accept: dict[str, Any],
    title: str,
    note: str | None,
) -> None:
    """Write the figures, and pages of them for people."""
    from distillery.config.review import AcceptanceRule
    from distillery.files import write_json
    from distillery.peer_review.acceptance import sweep_thresholds
    from distillery.peer_review.audit import audit
    from distillery.peer_review.audit_pages import write_pages
    from distillery.peer_review.records import Acceptance, Review, Taught
    from distillery.records import Verdict, read_records

    rule = AcceptanceRule.model_validate(accept)
    reasoned = [rationale for path in rationales for rationale in read_records(path, Taught)]
    given = [review for path in reviews for review in read_records(path, Review)]
    checked = list(read_records(verdicts, Verdict))
    decided = list(read_records(acceptances, Acceptance))
    found = audit(reasoned, given, decided, checked, grader=rule.grader)
    found["thresholds"] = sweep_thresholds(reasoned, given, checked, rule)
    write_json(figures, found)
    write_pages(found, markdown, html, title=title, note=note)


run_script("audit", main, globals())
