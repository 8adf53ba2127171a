"""`config/committees/*.yaml`: who teaches on the student's mistakes, and who reviews whom (MAPD / FAIR)."""

from typing import Literal

from pydantic import Field, model_validator

from distillery.config.base import Name, Section
from distillery.config.review import StudentAnswers
from distillery.config.sampler import Decoding


class Teacher(Section):
    """A member of the committee: a model with its own prompts. It reviews the others unless `reviews` is false."""

    model: Name
    family: Name = Field(description="Models of one family do not review each other, unless allowed by name.")
    rationale: Name = Field(description="Prompt for a rationale: sees the question alone.")
    feedback: Name = Field(description="Prompt for feedback: sees `question`, `wrong` and `gold`.")
    review: Name | None = Field(None, description="Prompt for reviews; none: the committee's.")
    decoding: Decoding = Field(Decoding(), description="Decoding of the rationale.")
    feedback_decoding: Decoding | None = Field(
        None, description="Decoding of the feedback; none: that of the rationale."
    )
    reviews: bool = Field(True, description="False: it teaches and reviews nobody.")


class Reviewer(Section):
    """A model that reviews and does not teach."""

    model: Name
    family: Name
    review: Name | None = Field(None, description="Prompt; none: the committee's.")


class Person(Section):
    """A reviewer who fills in a sheet. Their reviews count once the filled sheet is named."""

    sheet: str | None = Field(
        None,
        pattern=r"\.(csv|jsonl)$",
        description="The filled sheet, .csv or .jsonl; `{task}` and `{student}` are filled in.",
    )


class Reviewing(Section):
    """What reviewers are given, and how their scores are read."""

    protocol: Literal["paper", "robust"] = Field(
        "robust",
        description="robust: a free critique, then one of the five scores by probability (a prompt with `answer_cue`), "
        "or a score that is stated; paper: the last number of the reply.",
    )
    prompt: Name = Field("review-robust", description="Sees `question`, `rationale` and `hint`.")
    hint: Literal["none", "answer", "reference"] = Field(
        "answer", description="Shown to reviewers: the gold answer, the whole reference solution, or nothing."
    )
    decoding: Decoding = Field(Decoding(), description="Decoding of the critique, or of the whole reply.")
    samples: int = Field(1, ge=1, description="Reviews of each reviewer; the first counts, repeats are for the audit.")
    gate: Literal["none", "right"] = Field(
        "none",
        description="right: only rationales whose final answer is right are reviewed, which saves the calls on the "
        "others; recipes then need `pairs.accept.gate: right`.",
    )
    grader: Name = Field("robust", description="Grader whose verdict that gate uses.")
    at_least: int = Field(2, ge=1, description="Reviewers that every teacher needs.")

    @model_validator(mode="after")
    def _greedy_draws_once(self) -> "Reviewing":
        if self.decoding.temperature == 0 and self.samples > 1:
            raise ValueError("greedy decoding repeats one review; set samples: 1, or a temperature above 0")
        return self


class Released(Section):
    """A released exchange instead of teachers: mistakes, feedback, rationales and scores from files."""

    kind: Literal["mapd"] = "mapd"
    folder: str = Field(description="Folder of the three files.")
    stem: str = Field("Llama-2-7b-chat-hf_svamp", description="Beginning of the files' names.")
    teachers: list[Name] = Field(["gpt", "gemini", "mistral"], description="As the files name them.")
    checked: bool = Field(True, description="Refuse files that are not the released ones.")


class Committee(Section):
    """Teachers, reviewers and people; or their released exchange."""

    committee: Name
    student_answers: StudentAnswers = StudentAnswers()
    teachers: dict[Name, Teacher] = {}
    reviewers: dict[Name, Reviewer] = Field({}, description="Models that review and do not teach.")
    people: dict[Name, Person] = {}
    same_family: list[tuple[Name, Name]] = Field(
        [], description="[reviewer, author] pairs of one family that may review nevertheless; tables say so."
    )
    review: Reviewing = Reviewing()
    released: Released | None = None

    @model_validator(mode="after")
    def _taught_or_released(self) -> "Committee":
        if bool(self.teachers) == (self.released is not None):
            raise ValueError("a committee has teachers, or a released exchange, and not both")
        if self.released is not None and (self.reviewers or self.same_family or self.review.gate != "none"):
            raise ValueError("the reviews of a released exchange are done; only people may add some")
        names = [*self.names, *self.reviewers, *self.people]
        if len(set(names)) < len(names):
            raise ValueError("one name is given to two members")
        return self

    @property
    def names(self) -> list[str]:
        """Names of the teachers, in order."""
        return list(self.teachers) if self.released is None else list(self.released.teachers)

    @property
    def families(self) -> dict[str, str]:
        """Teacher -> family; a released teacher is a family of its own."""
        return {name: self.teachers[name].family if name in self.teachers else name for name in self.names}

    @property
    def panel(self) -> dict[str, str]:
        """Models that review -> family, in the order of the file."""
        members = {name: teacher.family for name, teacher in self.teachers.items() if teacher.reviews}
        return members | {name: reviewer.family for name, reviewer in self.reviewers.items()}

    def prompt_of_reviewer(self, name: str) -> str:
        """Name of the prompt that a reviewing model gets."""
        member = self.teachers[name] if name in self.teachers else self.reviewers[name]
        return member.review or self.review.prompt

    def model_of_reviewer(self, name: str) -> str:
        return (self.teachers[name] if name in self.teachers else self.reviewers[name]).model

    @property
    def note(self) -> str | None:
        """What a table says about who reviewed whom."""
        if not self.same_family:
            return None
        pairs = ", ".join(f"{reviewer} reviews {author}" for reviewer, author in self.same_family)
        return (
            f"In committee {self.committee} models review authors of their own family, which its settings allow by name"
            f" ({pairs}); judges tend to prefer text of their own family"
        )
