"""The audit of a peer review as a Markdown page and as an HTML page on which a lenient reviewer stands out."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distillery.files import atomic_open
from distillery.pages import as_text, markdown_table, markdown_text, render
from distillery.peer_review.audit import GOOD, LENIENT, SCALE
from distillery.peer_review.records import HIGHEST, LOWEST

PAGE = Path(__file__).parent / "templates" / "audit.html"

THRESHOLD_COLUMNS = ("threshold", "accepted", "questions", "right", "precision", "recall")


def write_pages(figures: Mapping[str, Any], markdown: Path, html: Path, *, title: str, note: str | None = None) -> None:
    """Write both pages, atomically.

    Args:
        figures: Of `audit`, with `thresholds` of `sweep_thresholds`.
        note: What a reader must know first, such as that reviewers are of their authors' family.
    """
    lines = [audit_markdown(figures, title), "## Other thresholds", ""]
    thresholds = [[row[name] for name in THRESHOLD_COLUMNS] for row in figures["thresholds"]]
    lines += _table([name.capitalize() for name in THRESHOLD_COLUMNS], thresholds, labels=0)
    lines += ["", f"{note}."] if note else []
    with atomic_open(markdown) as out:
        out.write("\n".join(lines) + "\n")
    page = render(
        PAGE,
        title=title,
        note=note,
        scale=SCALE,
        good=GOOD,
        lenient=LENIENT,
        columns=THRESHOLD_COLUMNS,
        **figures,
    )
    with atomic_open(html) as out:
        out.write(page)


def audit_markdown(figures: Mapping[str, Any], title: str = "Peer review") -> str:
    """The figures of `audit` as a Markdown page."""
    reviews, agreement, acceptance = figures["reviews"], figures["agreement"], figures["acceptance"]
    invalid = "; ".join(f"{count} {reason}" for reason, count in reviews["invalid"].items()) or "none"
    lines = [
        f"# {markdown_text(title)}",
        "",
        f"{reviews['slots']} reviews, {reviews['valid']} with a valid score; without: {markdown_text(invalid)}.",
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
        f"* Precision {as_text(acceptance['precision'])}, recall {as_text(acceptance['recall'])},"
        f" {acceptance['not_checked']} rationales not checked.",
    ]
    return "\n".join(lines) + "\n"


def _table(headings: Sequence[str], rows: Iterable[Sequence[object]], labels: int = 1) -> list[str]:
    """A table of figures, of which the first `labels` columns are names."""
    numeric = [place >= labels for place in range(len(headings))]
    return markdown_table(headings, ([as_text(value) for value in row] for row in rows), numeric)
