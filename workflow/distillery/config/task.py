"""`config/tasks/*.yaml`: where questions come from, what a right answer is, and the worked examples for prompts."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, model_validator

from distillery.config.base import Name, Section
from distillery.config.extensions import Known


class GeneratorSource(Section):
    """Questions made by one of the project's own seeded generators."""

    kind: Literal["generator"]
    generator: Annotated[str, Known("generators")]
    seed: int = Field(0, description="Another seed gives other questions.")
    options: dict[str, Any] = Field({}, description="Passed to the generator, which refuses names it does not know.")


class ReasoningGymSource(Section):
    """Questions made by a `reasoning-gym` generator (install the extra `reasoning-gym`)."""

    kind: Literal["reasoning-gym"]
    dataset: str = Field(description="Name of the generator, such as `chain_sum`.")
    seed: int = 0
    options: dict[str, Any] = Field({}, description="Passed to `reasoning_gym.create_dataset`.")


class HubSource(Section):
    """A data set of the Hugging Face Hub at a pinned revision."""

    kind: Literal["hub"]
    path: str = Field(description="Repository of the data set, such as `openai/gsm8k`.")
    name: str | None = Field(None, description="Configuration of the data set.")
    revision: str = Field(
        pattern=r"^[0-9a-f]{40}$", description="Commit, 40 hex digits: branches move, results must not."
    )
    splits: dict[Literal["train", "dev", "test"], str] = Field(
        description="Our split -> the data set's split, in the Hub's slicing syntax (`train[:90%]`)."
    )


class FileSource(Section):
    """Local files. JSON (array of objects, or an object with the array under `data`), JSON Lines, CSV or Parquet."""

    kind: Literal["file"]
    files: dict[Literal["train", "dev", "test", "all"], str] = Field(
        description="Split -> path, relative to the working directory; `all` together with `split_file`. "
        "Text in UTF-8, at most 256 MiB; a row ends at a line feed only."
    )
    split_file: str | None = Field(
        None, description="JSON object {train: [row, ...], test: [row, ...]} of row numbers from 0."
    )
    id_field: str | None = Field(None, description="Field that names a row; without it the row number does.")

    @model_validator(mode="after")
    def _one_file_for_all_is_split(self) -> "FileSource":
        if ("all" in self.files) != (self.split_file is not None) or ("all" in self.files and len(self.files) > 1):
            raise ValueError("files: all is the only file and needs a split_file; a split_file needs files: all")
        return self


Source = Annotated[GeneratorSource | ReasoningGymSource | HubSource | FileSource, Field(discriminator="kind")]


class Grader(Section):
    """How a final answer is found in a completion and compared with the gold answer.

    Source: Fine-tune-CoT's evaluator; Mentor-KD's has the same shape.
    """

    candidates: Annotated[str, Known("graders")] = Field(description="What counts as an answer in the region searched.")
    letters: str = Field("A-E", pattern=r"^[A-Z]-[A-Z]$", description="Range of letters, for `choice`.")
    standalone: bool = Field(
        False,
        description="Only an answer that stands alone counts: 'Because' is no B, '10-3' holds no -3, the last letters "
        "are one word of the sentence, a text is its first line.",
    )
    delimiter: Literal["prompt", "none"] = Field(
        "prompt", description="Search after the prompt's delimiter (`-->`), or always the whole text."
    )
    choose: Literal["first", "last"] = "first"
    without_delimiter: Literal["last", "unparsable"] = Field(
        "last", description="The delimiter is missing: take the last candidate of the whole text, or none."
    )
    compare: Annotated[str, Known("comparisons")] = Field("string", description="`number`: equal within 1e-6.")
    gold: Literal["as-is", "number-in-text", "first-character"] = Field(
        "as-is", description="How gold becomes an answer."
    )
    complete: bool = Field(False, description="An answer in a completion that was cut off always counts as truncated.")

    @model_validator(mode="after")
    def _numbers_are_compared_as_numbers(self, info: ValidationInfo) -> "Grader":
        if info.context is not None and info.context.comparisons[self.compare].numeric:
            numeric = [name for name, kind in info.context.graders.items() if kind.numeric]
            if self.candidates not in numeric:
                raise ValueError(f"compare: {self.compare} goes with candidates: {' or '.join(numeric)}")
        return self


class ExemplarText(Section):
    """A worked example written in the task file."""

    question: str
    rationale: str
    gold: str
    program: str | None = Field(None, description="A Python program: `solution()` returns the answer. For PaD.")


class Exemplars(Section):
    """Worked examples for few-shot prompts: written out, or made by the task's generator from a pool of its own."""

    count: int = Field(0, ge=0, description="How many the generator makes.")
    seed: int = Field(0, description="Another seed gives other exemplars.")
    written: list[ExemplarText] = []

    @model_validator(mode="after")
    def _one_kind(self) -> "Exemplars":
        if self.count and self.written:
            raise ValueError("exemplars are either generated (count) or written out (written), not both")
        return self


class SplitSizes(Section):
    """How many questions of each split are used; None is all that the source has."""

    train: int | None = Field(None, ge=1)
    dev: int | None = Field(None, ge=0, description="A source without a dev split gives this many of train.")
    test: int | None = Field(None, ge=1)


class Task(Section):
    """A benchmark: adding one is adding one file."""

    task: Name
    version: int = Field(1, ge=1, description="Raised whenever questions, gold or graders can move a score.")
    title: str = Field(description="As tables print it.")
    source: Source
    sizes: SplitSizes = SplitSizes()
    question: str = Field("{{ question }}", description="Jinja template over the fields of a source row.")
    gold: str = Field("{{ gold }}", description="Jinja template; its result, stripped, is the gold answer.")
    rationale: str | None = Field(
        None, description="Jinja template of a gold worked solution, where the source has one."
    )
    answer: Annotated[str, Known("graders")] = Field(description="Default graders come with it.")
    graders: dict[Name, Grader] = Field({}, description="Replace or add to the default graders `paper` and `robust`.")
    exemplars: Exemplars = Exemplars()
    licence: str | None = None
    changes: list[str] = Field([], description="What each version changed.")
