"""Audit: how far reviewers agree with each other, with themselves and with the answer check.

The answer check is no truth about the reasoning, but it is deterministic and asks nobody: a reviewer that gives good
scores to wrong answers is lenient, whatever the others say. Where the answer check has no verdict, a rationale is left
out of the figures that need one. Shares are fractions, lengths are characters.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from distillery.files import atomic_open
from distillery.peer_review.records import HIGHEST, LOWEST, Acceptance, Decision, Review
from distillery.records import Completion, Outcome, Verdict

SCALE = range(LOWEST, HIGHEST + 1)

GOOD = 4
"""A score from here on calls a rationale correct (the published figure accepts 4 and 5)."""

LENIENT = 0.5
"""A reviewer that calls more than this share of the wrong rationales correct is flagged. In MAPD's release Gemini waves
through 159 of 224, the others 71 of 265 and 33 of 226."""


def audit(
    rationales: Sequence[Completion],
    reviews: Sequence[Review],
    acceptances: Sequence[Acceptance],
    verdicts: Iterable[Verdict],
    *,
    grader: str,
) -> dict[str, Any]:
    """All figures about a peer review, as plain values.

    Args:
        rationales: All that were up for review.
        reviews: Sample 0 of each reviewer; further samples say how far it agrees with itself.
        acceptances: Of these rationales.
        verdicts: Answer checks of these rationales.
        grader: Whose verdicts count.

    Returns:
        `reviews` (`slots` is `valid` plus the sum of `invalid`), and by name `reviewers`, `pairs`, `authors`; and
        `acceptance`, the decisions against the answer check.
    """
    right = {v.completion_id: v.outcome == Outcome.RIGHT for v in verdicts if v.grader == grader}
    first = [review for review in reviews if review.sample_index == 0]
    names = sorted({review.reviewer for review in first})
    by_rationale: dict[str, dict[str, int]] = defaultdict(dict)
    for review in first:
        if review.score is not None:
            by_rationale[review.rationale_id][review.reviewer] = review.score
    pairs = {f"{a}, {b}": _pair(by_rationale.values(), a, b) for a, b in combinations(names, 2)}
    return {
        "reviews": {
            "slots": len(first),
            "valid": sum(review.score is not None for review in first),
            "invalid": dict(sorted(Counter(_kind(review) for review in first if review.score is None).items())),
        },
        "reviewers": {name: _reviewer([r for r in reviews if r.reviewer == name], right) for name in names},
        "pairs": pairs,
        "agreement": {
            key: sum(pair[key] for pair in pairs.values()) for key in ("rationales", "equal", "maximum_split")
        },
        "authors": {
            author: _author(author, rationales, acceptances, right)
            for author in sorted({one.author for one in acceptances})
        },
        "acceptance": _against_check(acceptances, right),
    }


def _kind(review: Review) -> str:
    """The reason without the number in it, so that reasons can be counted."""
    reason = review.reason or ""
    return "outside the scale" if " is outside " in reason else reason


def _reviewer(reviews: Sequence[Review], right: Mapping[str, bool]) -> dict[str, Any]:
    first = [review for review in reviews if review.sample_index == 0]
    scored = [(review.rationale_id, review.score) for review in first if review.score is not None]
    counts = Counter(score for _, score in scored)
    cells = Counter((score >= GOOD, right[one]) for one, score in scored if one in right)
    wrong = cells[True, False] + cells[False, False]
    waved = _share(cells[True, False], wrong)
    return {
        "reviews": len(first),
        "valid": len(scored),
        "histogram": {str(score): counts[score] for score in SCALE},
        "mean": fmean(score for _, score in scored) if scored else None,
        "share_of_highest": _share(counts[HIGHEST], len(scored)),
        "true_positives": cells[True, True],
        "false_positives": cells[True, False],
        "true_negatives": cells[False, False],
        "false_negatives": cells[False, True],
        "accuracy": _share(cells[True, True] + cells[False, False], cells.total()),
        "false_accept_rate": waved,
        "lenient": waved is not None and waved > LENIENT,
        "repeats": _repeats(reviews),
    }


def _repeats(reviews: Sequence[Review]) -> dict[str, int]:
    """How often another sample of the same review gave the score of sample 0; both must be valid."""
    first = {review.rationale_id: review.score for review in reviews if review.sample_index == 0}
    again = [
        review.score == first[review.rationale_id]
        for review in reviews
        if review.sample_index and review.score is not None and first.get(review.rationale_id) is not None
    ]
    return {"reviews": len(again), "equal": sum(again)}


def _pair(scores: Iterable[Mapping[str, int]], one: str, other: str) -> dict[str, Any]:
    both = Counter((given[one], given[other]) for given in scores if one in given and other in given)
    split = {(LOWEST, HIGHEST), (HIGHEST, LOWEST)}
    return {
        "rationales": both.total(),
        "equal": sum(count for (a, b), count in both.items() if a == b),
        "maximum_split": sum(count for cell, count in both.items() if cell in split),
        "kappa": weighted_kappa(both),
    }


def weighted_kappa(both: Mapping[tuple[int, int], int]) -> float | None:
    """Cohen's kappa with quadratic weights, of how often each pair of scores was given to one rationale.

    1 is agreement, 0 what chance gives. None where it is not defined: nothing in common, or only one score is used.
    """
    if len({score for cell, count in both.items() if count for score in cell}) < 2:
        return None
    from statsmodels.stats.inter_rater import cohens_kappa  # loads pandas and scipy: only where an audit is made

    table = [[both.get((row, column), 0) for column in SCALE] for row in SCALE]
    return float(cohens_kappa(table, wt="quadratic", return_results=False))


def _author(
    author: str, rationales: Sequence[Completion], acceptances: Sequence[Acceptance], right: Mapping[str, bool]
) -> dict[str, Any]:
    own = [one for one in acceptances if one.author == author]
    lengths = [len(one.text) for one in rationales if one.sampler == author]
    counts = Counter(one.decision for one in own)
    return {
        "rationales": len(own),
        **{decision.value: counts[decision] for decision in Decision},
        "share_accepted": _share(counts[Decision.ACCEPTED], len(own)),
        "right": sum(right.get(one.completion_id, False) for one in own),
        **_precision(own, right),
        "mean_length": fmean(lengths) if lengths else None,
    }


def _precision(acceptances: Iterable[Acceptance], right: Mapping[str, bool]) -> dict[str, Any]:
    """Of the accepted ones that the answer check knows, how many it finds right."""
    known = [
        one.completion_id for one in acceptances if one.decision == Decision.ACCEPTED and one.completion_id in right
    ]
    good = sum(right[one] for one in known)
    return {"accepted_right": good, "precision": _share(good, len(known))}


def _against_check(acceptances: Sequence[Acceptance], right: Mapping[str, bool]) -> dict[str, Any]:
    known = [one for one in acceptances if one.completion_id in right]
    cells = Counter((one.decision, right[one.completion_id]) for one in known)
    good = sum(count for (_, is_right), count in cells.items() if is_right)
    accepted = cells[Decision.ACCEPTED, True], cells[Decision.ACCEPTED, False]
    return {
        "checked": len(known),
        "not_checked": len(acceptances) - len(known),
        "confusion": {
            decision.value: {"right": cells[decision, True], "not_right": cells[decision, False]}
            for decision in Decision
        },
        "precision": _share(accepted[0], sum(accepted)),
        "recall": _share(accepted[0], good),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def audit_markdown(figures: Mapping[str, Any], title: str = "Peer review") -> str:
    """The figures of `audit` as a Markdown page."""
    reviews, agreement, acceptance = figures["reviews"], figures["agreement"], figures["acceptance"]
    invalid = "; ".join(f"{count} {reason}" for reason, count in reviews["invalid"].items()) or "none"
    lines = [
        f"# {_cell(title)}",
        "",
        f"{reviews['slots']} reviews, {reviews['valid']} with a valid score; without: {_cell(invalid)}.",
        "",
        "## Reviewers",
        "",
        *_table(
            [
                "Reviewer",
                "Reviews",
                "Valid",
                *map(str, SCALE),
                "Mean",
                "Accuracy",
                "False accept rate",
                "Repeats",
                "Remark",
            ],
            [
                [
                    name,
                    row["reviews"],
                    row["valid"],
                    *row["histogram"].values(),
                    row["mean"],
                    row["accuracy"],
                    row["false_accept_rate"],
                    f"{row['repeats']['equal']} of {row['repeats']['reviews']}" if row["repeats"]["reviews"] else None,
                    "lenient" if row["lenient"] else None,
                ]
                for name, row in figures["reviewers"].items()
            ],
        ),
        "",
        f"* Accuracy: a score from {GOOD} on, against the answer check.",
        "* False accept rate: share of the rationales without the right answer that get such a score.",
        "* Repeats: further samples of a review that gave the same score.",
        "",
        "## Agreement",
        "",
        *_table(
            ["Reviewers", "Rationales", "Equal", f"{LOWEST} against {HIGHEST}", "Kappa"],
            [
                [name, row["rationales"], row["equal"], row["maximum_split"], row["kappa"]]
                for name, row in [*figures["pairs"].items(), ("all", {**agreement, "kappa": None})]
            ],
        ),
        "",
        "* Kappa: Cohen's, with quadratic weights.",
        "",
        "## Authors",
        "",
        *_table(
            ["Author", "Rationales", "Accepted", "Rejected", "Undecided", "Accepted share", "Precision", "Characters"],
            [
                [
                    name,
                    *(row[key] for key in ("rationales", "accepted", "rejected", "undecided")),
                    *(row[key] for key in ("share_accepted", "precision", "mean_length")),
                ]
                for name, row in figures["authors"].items()
            ],
        ),
        "",
        "* Each author has reviewers of its own: accepted shares of two authors cannot be compared.",
        "",
        "## Against the answer check",
        "",
        *_table(
            ["Decision", "Right", "Not right"],
            [[name, row["right"], row["not_right"]] for name, row in acceptance["confusion"].items()],
        ),
        "",
        f"* Precision {_text(acceptance['precision'])}, recall {_text(acceptance['recall'])},"
        f" {acceptance['not_checked']} rationales not checked.",
    ]
    return "\n".join(lines) + "\n"


def write_audit(figures: Mapping[str, Any], path: Path, title: str = "Peer review") -> None:
    """Write the page of `audit_markdown`, atomically."""
    with atomic_open(path) as out:
        out.write(audit_markdown(figures, title))


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    first, *others = headings
    lines = [[first, *others], ["---", *("---:" for _ in others)], *([_text(value) for value in row] for row in rows)]
    return ["| " + " | ".join(map(_cell, line)) + " |" for line in lines]


def _text(value: object) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    """Text that cannot end a cell or start a tag: names come from files that people write."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
