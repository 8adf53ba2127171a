"""Sections about mistakes and peer review: which mistakes count, which rationales are accepted, what is trained."""

from typing import Literal

from pydantic import Field, model_validator

from distillery.config.base import Name, Section, TaughtPart, VariantName


class StudentAnswers(Section):
    """Which of the student's answers are mistakes. Paper: `unparsable: keep, truncated: keep, cut: answer`."""

    sampler: Name = Field("student-answers", description="How the student answers; a sampler with `model: trained`.")
    student: Name | None = Field(None, description="Model that answers in the first round; none: the student itself.")
    grader: Name = Field("robust", description="Grader whose verdict says what is a mistake.")
    unparsable: Literal["keep", "drop"] = Field(
        "drop", description="Texts without a final answer: a fault of form, in the papers a mistake like any other."
    )
    truncated: Literal["keep", "drop"] = Field("drop", description="Texts cut off at the token limit.")
    cut: Literal["none", "answer"] = Field(
        "none",
        description="The mistake's text: all of it, or (paper) up to the first occurrence of the answer.",
    )
    limit: int | None = Field(
        None, ge=1, description="Largest number of mistakes, chosen by seed; a lower limit chooses a part of them."
    )
    seed: int = Field(0, description="Seed of that choice.")


class AcceptanceRule(Section):
    """When a rationale is accepted. Paper: `min_reviews: 1`, no gate, mean of the valid scores strictly above 3."""

    peers: bool = Field(True, description="Use the reviews; false leaves the decision to the gate.")
    threshold: float = Field(3.0, description="Threshold of the aggregate, on the scale of the calibration.")
    strict: bool = Field(True, description="True accepts above the threshold; false also at the threshold.")
    aggregate: Literal["mean", "median", "min", "weighted"] = Field(
        "mean", description="How the valid scores are combined."
    )
    weights: dict[Name, float] | None = Field(None, description="Weight of each reviewer, for `aggregate: weighted`.")
    value: Literal["score", "expected"] = Field(
        "score", description="The whole score, or its mean under the reviewer's probabilities."
    )
    calibration: Literal["none", "rank", "z-score"] = Field(
        "none",
        description="Scores as given, or relative to each reviewer's own: by rank, or in standard deviations from its "
        "mean. Then 3 is a reviewer's usual score, and a lenient reviewer weighs no more than a strict one.",
    )
    min_reviews: int = Field(2, ge=1, description="Valid scores needed; with fewer a rationale stays undecided.")
    gate: Literal["none", "right", "not-wrong"] = Field(
        "none",
        description="Answer check before the reviews: only right final answers pass, or all but wrong ones.",
    )
    grader: Name = Field("robust", description="Grader whose verdict the gate uses.")

    @model_validator(mode="after")
    def _weights_fit(self) -> "AcceptanceRule":
        if (self.aggregate == "weighted") != (self.weights is not None):
            raise ValueError("weights and `aggregate: weighted` go together")
        if self.weights is not None and not all(weight > 0 for weight in self.weights.values()):
            raise ValueError("weights must be above 0; leave a reviewer out of the routing to drop it")
        return self


class Pairs(Section):
    """Training rows of MAPD: feedback and a rationale of the setup's committee on each mistake of a student."""

    mode: Literal["mixed", "single", "mixed-unreviewed"] = Field(
        "mixed", description="Accepted rationales of all teachers, one teacher's, or all of all; feedback likewise."
    )
    teacher: Name | None = Field(None, description="The teacher of `mode: single`; none: the first of the committee.")
    taught: TaughtPart = Field(
        "reasoning",
        description="Of a reasoning model's text: its thinking (its rationale, if it has none), the rationale in its "
        "answer, or both.",
    )
    feedback_prompt: Name = Field("student-feedback", description="What the student is shown in feedback rows.")
    accept: AcceptanceRule = AcceptanceRule()
    size_of: Name | None = Field(
        None, description="Control: as many questions with a rationale as this recipe keeps, chosen by seed."
    )
    round: int = Field(
        1, ge=1, description="From 2 on, the mistakes are those of the student trained in the round before."
    )
    after: VariantName | None = Field(
        None, description="Recipe whose student answers in the first round; none: the untrained student."
    )
    continues: bool = Field(
        True, description="Training continues from the student that made the mistakes, if it was trained."
    )

    @property
    def reviewed(self) -> bool:
        """Whether reviews decide about its rows."""
        return self.mode == "mixed" and self.accept.peers

    @model_validator(mode="after")
    def _parts_fit(self) -> "Pairs":
        if self.teacher is not None and self.mode != "single":
            raise ValueError("teacher goes with `mode: single`")
        if self.size_of is not None and (self.mode != "mixed" or self.accept.peers or self.accept.gate != "none"):
            raise ValueError("size_of goes with `mode: mixed` and `accept: {peers: false}`: it chooses among all")
        return self
