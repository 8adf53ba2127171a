"""The audit of one small peer review: every figure counted by hand, and the page that prints them."""

from types import SimpleNamespace

import pytest

from distillery.peer_review.audit import audit
from distillery.peer_review.audit_pages import audit_markdown, write_pages
from distillery.peer_review.records import Acceptance, Review
from distillery.records import Completion, Verdict

SCORES = {  # rationale -> reviewer -> score; anna wrote a0 to a2, bert b0 and b1
    "a0": {"bert": 5, "cleo": 5},
    "a1": {"bert": 4, "cleo": 1},
    "a2": {"bert": 5, "cleo": None},
    "b0": {"cleo": 2, "anna": 1},
    "b1": {"cleo": 1, "anna": 5},
}
REPEATS = {"a0": 5, "a1": 3, "a2": None}  # bert's second reviews
OUTCOMES = {"a0": "right", "a1": "wrong", "a2": "truncated", "b0": "right"}
DECISIONS = {"a0": "accepted", "a1": "rejected", "a2": "accepted", "b0": "undecided", "b1": "accepted"}
LENGTHS = {"a0": 10, "a1": 20, "a2": 40, "b0": 7, "b1": 8}
NAMES = {"a": "anna", "b": "bert"}


def completion(name: str) -> Completion:
    return Completion(
        completion_id=name, qid=f"q{name[1]}", sampler=NAMES[name[0]], sample_index=0, text="x" * LENGTHS[name],
        finish_reason="stop", prompt_tokens=1, completion_tokens=1,
    )  # fmt: skip


def review(name: str, reviewer: str, score: int | None, sample: int = 0) -> Review:
    return Review(
        qid=f"q{name[1]}", author=NAMES[name[0]], reviewer=reviewer, rationale_id=name, review_id=None,
        sample_index=sample, protocol="robust", score=score, path="",
        reason="83 is outside 1 to 5" if score is None else None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def figures():
    reviews = [review(name, who, score) for name, given in SCORES.items() for who, score in given.items()]
    reviews += [review(name, "bert", score, sample=1) for name, score in REPEATS.items()]
    acceptances = [
        Acceptance(qid=f"q{name[1]}", author=NAMES[name[0]], completion_id=name, decision=decision, aggregate=None,
                   scores={}, gate=None, reason="")
        for name, decision in DECISIONS.items()
    ]  # fmt: skip
    verdicts = [
        Verdict(completion_id=name, qid=f"q{name[1]}", sample_index=0, grader=grader, outcome=outcome, answer=None,
                reason="")
        for name in SCORES
        for grader, outcome in [("robust", OUTCOMES.get(name)), ("paper", "right")]
        if outcome is not None
    ]  # fmt: skip
    return audit([completion(name) for name in SCORES], reviews, acceptances, verdicts, grader="robust")


def about(value: float):
    return pytest.approx(value, abs=1e-12)


def test_every_figure_is_that_of_a_count_by_hand(figures):
    assert figures["reviews"] == {"slots": 10, "valid": 9, "invalid": {"outside the scale": 1}}
    assert figures["reviewers"] == {
        "anna": {
            "reviews": 2, "valid": 2, "histogram": {"1": 1, "2": 0, "3": 0, "4": 0, "5": 1}, "mean": 3.0,
            "share_of_highest": 0.5, "true_positives": 0, "false_positives": 0, "true_negatives": 0,
            "false_negatives": 1, "accuracy": 0.0, "false_accept_rate": None, "lenient": False,
            "repeats": {"reviews": 0, "equal": 0},
        },
        "bert": {
            "reviews": 3, "valid": 3, "histogram": {"1": 0, "2": 0, "3": 0, "4": 1, "5": 2}, "mean": about(14 / 3),
            "share_of_highest": about(2 / 3), "true_positives": 1, "false_positives": 2, "true_negatives": 0,
            "false_negatives": 0, "accuracy": about(1 / 3), "false_accept_rate": 1.0, "lenient": True,
            "repeats": {"reviews": 2, "equal": 1},
        },
        "cleo": {
            "reviews": 5, "valid": 4, "histogram": {"1": 2, "2": 1, "3": 0, "4": 0, "5": 1}, "mean": 2.25,
            "share_of_highest": 0.25, "true_positives": 1, "false_positives": 0, "true_negatives": 1,
            "false_negatives": 1, "accuracy": about(2 / 3), "false_accept_rate": 0.0, "lenient": False,
            "repeats": {"reviews": 0, "equal": 0},
        },
    }  # fmt: skip
    # Kappa: 1 - (mean squared difference of the pairs) / (that of all combinations of their scores).
    assert figures["pairs"] == {
        "anna, bert": {"rationales": 0, "equal": 0, "maximum_split": 0, "kappa": None},
        "anna, cleo": {"rationales": 2, "equal": 0, "maximum_split": 1, "kappa": about(1 - 8.5 / 6.5)},
        "bert, cleo": {"rationales": 2, "equal": 1, "maximum_split": 0, "kappa": about(1 - 4.5 / 6.5)},
    }
    assert figures["agreement"] == {"rationales": 4, "equal": 1, "maximum_split": 1}
    assert figures["authors"] == {
        "anna": {
            "rationales": 3, "accepted": 2, "rejected": 1, "undecided": 0, "share_accepted": about(2 / 3), "right": 1,
            "accepted_right": 1, "precision": 0.5, "mean_length": about(70 / 3),
        },
        "bert": {
            "rationales": 2, "accepted": 1, "rejected": 0, "undecided": 1, "share_accepted": 0.5, "right": 1,
            "accepted_right": 0, "precision": None, "mean_length": 7.5,
        },
    }  # fmt: skip
    assert figures["acceptance"] == {
        "checked": 4, "not_checked": 1, "precision": 0.5, "recall": 0.5,
        "confusion": {
            "accepted": {"right": 1, "not_right": 1},
            "rejected": {"right": 0, "not_right": 1},
            "undecided": {"right": 1, "not_right": 0},
        },
    }  # fmt: skip


PAGE = """\
# Small

10 reviews, 9 with a valid score; without: 1 outside the scale.

## Reviewers

| Reviewer | Reviews | Valid | 1 | 2 | 3 | 4 | 5 | Mean | Accuracy | False accept rate | Repeats | Remark |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| anna | 2 | 2 | 1 | 0 | 0 | 0 | 1 | 3.000 | 0.000 |  |  |  |
| bert | 3 | 3 | 0 | 0 | 0 | 1 | 2 | 4.667 | 0.333 | 1.000 | 1 of 2 | lenient |
| cleo | 5 | 4 | 2 | 1 | 0 | 0 | 1 | 2.250 | 0.667 | 0.000 |  |  |

* Accuracy: a score from 4 on, against the answer check.
* False accept rate: share of the rationales without the right answer that get such a score.
* Repeats: further samples of a review that gave the same score.

## Agreement

| Reviewers | Rationales | Equal | 1 against 5 | Kappa |
| --- | ---: | ---: | ---: | ---: |
| anna, bert | 0 | 0 | 0 |  |
| anna, cleo | 2 | 0 | 1 | -0.308 |
| bert, cleo | 2 | 1 | 0 | 0.308 |
| all | 4 | 1 | 1 |  |

* Kappa: Cohen's, with quadratic weights.

## Authors

| Author | Rationales | Accepted | Rejected | Undecided | Accepted share | Precision | Characters |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| anna | 3 | 2 | 1 | 0 | 0.667 | 0.500 | 23.333 |
| bert | 2 | 1 | 0 | 1 | 0.500 |  | 7.500 |

* Each author has reviewers of its own: accepted shares of two authors cannot be compared.

## Against the answer check

| Decision | Right | Not right |
| --- | ---: | ---: |
| accepted | 1 | 1 |
| rejected | 0 | 1 |
| undecided | 1 | 0 |

* Precision 0.500, recall 0.500, 1 rationales not checked.
"""
THRESHOLDS = """
## Other thresholds

| Threshold | Accepted | Questions | Right | Precision | Recall |
| ---: | ---: | ---: | ---: | ---: | ---: |
| 3.000 | 4 | 3 | 2 | 0.500 |  |

Mind the family.
"""


def test_the_page_prints_every_figure_in_its_place(figures):
    assert audit_markdown(figures, "Small") == PAGE
    unread = {**figures, "reviews": {"slots": 0, "valid": 0, "invalid": {}}}
    assert audit_markdown(unread).startswith("# Peer review\n\n0 reviews, 0 with a valid score; without: none.\n")


def test_both_pages_have_the_thresholds_and_the_note(figures, tmp_path):
    row = {"threshold": 3.0, "accepted": 4, "questions": 3, "right": 2, "precision": 0.5, "recall": None}
    paths = SimpleNamespace(markdown=tmp_path / "audit.md", html=tmp_path / "audit.html")
    write_pages({**figures, "thresholds": [row]}, **vars(paths), title="Small", note="Mind the family")
    assert paths.markdown.read_text(encoding="utf-8") == PAGE + THRESHOLDS
    page = paths.html.read_text(encoding="utf-8")
    assert page.count("<title>Small") == 1 and page.count("Mind the family") == 1
    assert (
        "<tr><th>Threshold</th><th>Accepted</th><th>Questions</th><th>Right</th><th>Precision</th><th>Recall</th>"
        in page
    )
    assert '<tr class="lenient"><td>bert</td>' in page and "above 0.5 a reviewer is called lenient" in page
    assert "a score from 4 on" in page and "<th>1 against 5</th>" in page
    write_pages({**figures, "thresholds": [row]}, **vars(paths), title="Small")
    assert paths.markdown.read_text(encoding="utf-8") == (PAGE + THRESHOLDS).removesuffix("\nMind the family.\n")
