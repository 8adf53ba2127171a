"""Sections about the exam and the peer review: which mistakes count, and which rationales are accepted."""

from typing import Literal

from pydantic import Field, model_validator

from distillery.config.base import Name, Section


class Exam(Section):
    """Which of the student's exam answers are mistakes. Paper: `unparsable: keep, truncated: keep, cut: answer`."""

    grader: Name = Field("robust", description="Whose verdict says what is a mistake.")
    unparsable: Literal["keep", "drop"] = Field(
        "drop", description="Texts without a final answer: a fault of form, in the papers a mistake like any other."
    )
    truncated: Literal["keep", "drop"] = Field("drop", description="Texts cut off at the token limit.")
    cut: Literal["none", "answer"] = Field(
        "none",
        description="The mistake's text: all of it, or (paper) up to the first occurrence of the answer.",
    )


class AcceptanceRule(Section):
    """When a rationale is accepted. Paper: `min_reviews: 1`, no gate, mean of the valid scores strictly above 3."""

    peers: bool = Field(True, description="Ask the reviews; false leaves the decision to the gate.")
    threshold: float = Field(3.0, description="Of the aggregate.")
    strict: bool = Field(True, description="Above the threshold; false: at least the threshold.")
    aggregate: Literal["mean", "median", "min", "weighted"] = Field("mean", description="Of the valid scores.")
    weights: dict[Name, float] | None = Field(None, description="Of each reviewer, for `aggregate: weighted`.")
    value: Literal["score", "expected"] = Field(
        "score", description="The whole score, or its mean under the reviewer's probabilities."
    )
    min_reviews: int = Field(2, ge=1, description="Valid scores needed; with fewer a rationale stays undecided.")
    gate: Literal["none", "right", "not-wrong"] = Field(
        "none",
        description="Answer check in front: only right final answers pass, or all but wrong ones.",
    )
    grader: Name = Field("robust", description="Whose verdict the gate asks.")

    @model_validator(mode="after")
    def _weights_fit(self) -> "AcceptanceRule":
        if (self.aggregate == "weighted") != (self.weights is not None):
            raise ValueError("weights and `aggregate: weighted` go together")
        if self.weights is not None and not all(weight > 0 for weight in self.weights.values()):
            raise ValueError("weights must be above 0; leave a reviewer out of the routing to drop it")
        return self
