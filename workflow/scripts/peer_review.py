"""Ask the reviewers of one model to score the committee's rationales, through the completion store."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    mistakes: Path,
    rationales: list[Path],
    manifest: Path,
    reviews: Path,
    replies: Path,
    summary: Path,
    reviewers: dict[str, Any],
    routing: dict[str, list[str]],
    review: dict[str, Any],
    questions: Path | None = None,
    verdicts: Path | None = None,
    grader: str = "robust",
) -> dict[str, Any]:
    """Write the reviews, every full reply, and counts that add up.

    Args:
        reviewers: Name -> prompt section, of the reviewers with this model.
        routing: Teacher -> all of its reviewers.
        review: The committee's section on reviews: protocol, decoding, hint, samples.
        questions: Read where the hint is the reference solution.
        verdicts: Answer checks by `grader`; given if only rationales with a right answer are reviewed.
    """
    from collections import Counter

    from distillery.files import write_json
    from distillery.peer_review.ask import ask_reviewers, counts_of, hints_of
    from distillery.peer_review.assignments import read_assignments
    from distillery.peer_review.records import Mistake
    from distillery.records import Question, read_records, write_records
    from distillery.sampling.sampler import CompletionSampler

    model_sampler = CompletionSampler.of(manifest)
    found = list(read_records(mistakes, Mistake))
    todo, routed = read_assignments(rationales, routing, verdicts, grader)
    given, written = ask_reviewers(
        todo,
        found,
        reviewers,
        model_sampler,
        protocol=review["protocol"],
        decoding=review["decoding"],
        hints=hints_of(review["hint"], found, read_records(questions, Question) if questions else []),
        samples=review["samples"],
    )
    write_records(reviews, given)
    write_records(replies, written)
    reasons = Counter(record.reason for record in given if record.reason is not None)
    valid = sum(record.score is not None for record in given)
    write_json(
        summary,
        {"routed": routed, "reviews": len(given), "valid": valid, "invalid": reasons, "replies": counts_of(written)},
    )
    return model_sampler.report()


run_script("peer_review", main, globals())
