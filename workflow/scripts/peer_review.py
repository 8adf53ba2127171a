"""Ask the reviewers of one model to score the committee's rationales, through the completion store."""

import logging
from pathlib import Path
from typing import Any

from distillery.running import run_script

logger = logging.getLogger("distillery.peer_review")


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
) -> dict[str, Any]:
    """Write the reviews, every raw reply, and counts that add up.

    Args:
        reviewers: Name -> prompt section, of those that have this model.
        routing: Teacher -> all of its reviewers.
        review: The committee's section on reviews: protocol, decoding, hint, samples.
        questions: Read where the hint is the reference solution.
    """
    from collections import Counter

    from distillery.files import write_json
    from distillery.manifest import read_manifest
    from distillery.records import Question, read_records, write_records
    from distillery.review.asking import ask_reviewers, counts_of, hints_of
    from distillery.review.records import Mistake, Taught
    from distillery.review.routing import assignments
    from distillery.sampling import Asker
    from distillery.store import CompletionStore

    model = read_manifest(manifest)
    asker = Asker(manifest.parent / "model", model.identity, model.architecture, CompletionStore())
    found = list(read_records(mistakes, Mistake))
    todo, routed = assignments((one for path in rationales for one in read_records(path, Taught)), routing)
    given, written = ask_reviewers(
        todo,
        found,
        reviewers,
        asker,
        protocol=review["protocol"],
        decoding=review["decoding"],
        hints=hints_of(review["hint"], found, read_records(questions, Question) if questions else []),
        samples=review["samples"],
    )
    write_records(reviews, given)
    write_records(replies, written)
    reasons = Counter(one.reason for one in given if one.reason is not None)
    valid = sum(one.score is not None for one in given)
    write_json(
        summary,
        {"routed": routed, "reviews": len(given), "valid": valid, "invalid": reasons, "replies": counts_of(written)},
    )
    logger.info(
        "%d requests: %d from the store, %d drawn, %d tokens in %.0f s",
        asker.asked, asker.asked - asker.drawn, asker.drawn, asker.tokens, asker.seconds,
    )  # fmt: skip
    return {**asker.work, "parameters": model.parameters}


run_script("peer_review", main, globals())
