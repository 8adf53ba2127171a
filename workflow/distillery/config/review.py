"""Sections about the exam and the peer review: which mistakes count, which rationales are accepted, what is trained."""

from typing import Literal

from pydantic import Field, model_validator

from distillery.config.base import Name, Section, VariantName


class StudentAnswers(Section):
    """Which of the student's exam answers are mistakes. Paper: `unparsable: keep, truncated: keep, cut: answer`."""

    sampler: Name = Field("student-answers", description="How the student is asked; a sampler with `model: trained`.")
    student: Name | None = Field(None, description="Model that sits the first exam; none: the student itself.")
    grader: Name = Field("robust", description="Whose verdict says what is a mistake.")
    unparsable: Literal["keep", "drop"] = Field(
        "drop", description="Texts without a final answer: a fault of form, in the papers a mistake like any other."
    )
    truncated: Literal["keep", "drop"] = Field("drop", description="Texts cut off at the token limit.")
    cut: Literal["none", "answer"] = Field(
        "none",
        description="The mistake's text: all of it, or (paper) up to the first occurrence of the answer.",
    )
    limit: int | None = Field(None, ge=1, description="At most so many mistakes, drawn; fewer are part of more.")
    seed: int = Field(0, description="Of that draw.")


class AcceptanceRule(Section):
    """When a rationale is accepted. Paper: `min_reviews: 1`, no gate, mean of the valid scores strictly above 3."""

    peers: bool = Field(True, description="Ask the reviews; false leaves the decision to the gate.")
    threshold: float = Field(3.0, description="Of the aggregate, on the scale of the calibration.")
    strict: bool = Field(True, description="Above the threshold; false: at least the threshold.")
    aggregate: Literal["mean", "median", "min", "weighted"] = Field("mean", description="Of the valid scores.")
    weights: dict[Name, float] | None = Field(None, description="Of each reviewer, for `aggregate: weighted`.")
    value: Literal["score", "expected"] = Field(
        "score", description="The whole score, or its mean under the reviewer's probabilities."
    )
    calibration: Literal["none", "rank", "z-score"] = Field(
        "none",
        description="Scores as given, or relative to each reviewer's own: by rank, or in standard deviations from its "
        "mean. Then 3 is a reviewer's usual, and a lenient one weighs no more than a strict one.",
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


class Pairs(Section):
    """Training rows of MAPD: on each mistake of an exam feedback and a rationale of the setup's committee."""

    mode: Literal["mixed", "single", "mixed-unreviewed"] = Field(
        "mixed", description="Accepted rationales of all teachers, one teacher's, or all of all; feedback likewise."
    )
    teacher: Name | None = Field(None, description="Of `mode: single`; none: the first of the committee.")
    feedback_prompt: Name = Field("student-feedback", description="What the student is shown in feedback rows.")
    accept: AcceptanceRule = AcceptanceRule()
    size_of: Name | None = Field(
        None, description="Control: of all questions with a rationale so many, drawn, as this recipe keeps."
    )
    round: int = Field(1, ge=1, description="From 2 on, the student trained in the round before sits the exam.")
    after: VariantName | None = Field(
        None, description="Recipe whose student sits the first exam; none: the untrained student does."
    )
    continues: bool = Field(True, description="Training goes on from the student that sat the exam, if it was trained.")

    @property
    def reviewed(self) -> bool:
        """Whether reviews have a say in it."""
        return self.mode == "mixed" and self.accept.peers

    @model_validator(mode="after")
    def _parts_fit(self) -> "Pairs":
        if self.teacher is not None and self.mode != "single":
            raise ValueError("teacher goes with `mode: single`")
        if self.size_of is not None and (self.mode != "mixed" or self.accept.peers or self.accept.gate != "none"):
            raise ValueError("size_of goes with `mode: mixed` and `accept: {peers: false}`: all are drawn from")
        return self
