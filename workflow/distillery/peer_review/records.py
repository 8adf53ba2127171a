"""Records of the peer review, beside those of `distillery.records`.

mistakes/     Mistake      a question that the student got wrong, and what it wrote
reviews/      Review       one reviewer's score of one rationale, or the reason why there is none
replies/      Reply        the full text that a reviewer wrote
acceptances/  Acceptance   what the reviews and the answer check say about one rationale
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from distillery.records import Completion, Outcome, Record, Verdict

LOWEST, HIGHEST = 1, 5
"""The scale of MAPD's review prompt: 1 to 5, higher is more likely correct."""

Score = Annotated[int, Field(ge=LOWEST, le=HIGHEST)]
MistakeKind = Literal["wrong", "unparsable"]


class Decision(StrEnum):
    """The decision on a rationale. Only `accepted` is trained on; `undecided` had too few valid scores."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNDECIDED = "undecided"


class Mistake(Record):
    """A train question that the student answered wrongly; the input of all feedback."""

    sort_fields = ("qid",)
    qid: str
    question: str
    gold: str
    text: str
    """What the student wrote, cut as `student_answers` says."""
    answer: str | None
    """The final answer found in it; None if and only if unparsable."""
    kind: MistakeKind
    completion_id: str | None
    """Of the student's completion; None for a released exchange, which has only a part of it."""

    @model_validator(mode="after")
    def _kind_fits(self) -> "Mistake":
        if (self.answer is None) != (self.kind == "unparsable"):
            raise ValueError("a mistake is unparsable if and only if it has no answer")
        return self


class Taught(Completion):
    """A rationale or feedback; several teachers (`sampler`) write about one question."""

    sort_fields: ClassVar[tuple[str, ...]] = ("qid", "sampler", "sample_index")


class TaughtVerdict(Verdict):
    """A verdict on a rationale of one of several teachers."""

    sort_fields = ("qid", "completion_id", "grader")


class Reply(Completion):
    """The full text that a reviewer (`sampler`) wrote about one rationale."""

    sort_fields: ClassVar[tuple[str, ...]] = ("qid", "author", "rationale_id", "sampler", "sample_index")
    author: str
    rationale_id: str
    logprobs: dict[str, float] = {}
    """Log-probabilities of the scores, where the reviewer chose among them."""


class Review(Record):
    """One reviewer's judgement on one rationale. A score outside 1 to 5 cannot be stored; `raw` keeps what was read."""

    sort_fields = ("qid", "author", "rationale_id", "reviewer", "sample_index")
    qid: str
    author: str
    """Sampler that wrote the rationale."""
    reviewer: str
    rationale_id: str
    """`completion_id` of the rationale."""
    review_id: str | None
    """`completion_id` of the reviewer's reply; None for people, and for a release without its replies."""
    sample_index: int = 0
    """Acceptance reads sample 0; repeats serve the audit."""
    protocol: str
    """Which rule read the reply: `paper`, `robust`, `sheet` or `released`."""
    score: Score | None
    expected: Annotated[float, Field(ge=LOWEST, le=HIGHEST)] | None = None
    """Mean of the scale under the reviewer's probabilities of the five scores, where they are known."""
    raw: str | None = None
    """The score as the reviewer wrote it, on the scale or not."""
    path: str
    """Where in the reply the score was found, or searched."""
    reason: str | None = None
    """Why there is no score; None if and only if there is one."""

    @model_validator(mode="after")
    def _score_or_reason(self) -> "Review":
        if (self.score is None) == (self.reason is None):
            raise ValueError("a review has a score or a reason why it has none, and not both")
        if self.author == self.reviewer:
            raise ValueError(f"{self.author} cannot review itself")
        return self


class Acceptance(Record):
    """The decision on one rationale, with the scores and the verdict behind it."""

    sort_fields = ("qid", "author", "completion_id")
    qid: str
    author: str
    completion_id: str
    """Of the rationale."""
    decision: Decision
    aggregate: float | None
    """The reviewers' scores in one number, after calibration; None without a valid score."""
    scores: dict[str, int | None]
    """By reviewer, as given; None for a review without a valid score."""
    gate: Outcome | None
    """The answer check's outcome; None where there was no verdict."""
    reason: str


def is_null(completion: Completion) -> bool:
    """Whether a teacher wrote nothing: such a reply is neither reviewed nor trained on.

    The public code sends a failed call on to the reviewers as the text "None" (fault 15 of this project's notes).
    """
    return completion.finish_reason in ("refused", "failed") or not completion.text.strip()
