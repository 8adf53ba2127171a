"""`config/prompts/*.yaml`: how a question becomes model input, and a rationale a training target.

One prompt object serves sampling, training and prediction, so that a student is tested with the prompt of its training.
"""

from typing import Literal

from pydantic import Field, model_validator

from distillery.config.base import Name, Section


class Prompt(Section):
    """A prompt. Templates are Jinja over `question`; exemplars and targets also see `rationale` and `answer`.

    With `form: program` completions are Python programs: exemplars see `program`, and the rationale of a target is the
    program. The input of a prompt that asks for a repair also sees `program` and `feedback`.
    """

    prompt: Name
    input: str = Field(description="Model input for one question.")
    exemplar: str | None = Field(None, description="One worked example; the few-shot block joins them before `input`.")
    exemplars: int = Field(0, ge=0, description="How many of the task's exemplars are shown.")
    first_exemplar: int = Field(
        0, ge=0, description="Exemplars that are skipped, so that two teachers can see different ones."
    )
    select: Literal["first", "similar"] = Field(
        "first", description="The task's first exemplars, or for each question those that share most words with it."
    )
    rounds: int = Field(
        1, ge=1, description="Sample i shows block i mod rounds of the exemplars; a block has `exemplars` of them."
    )
    form: Literal["text", "program"] = Field("text", description="What a completion is: text with an answer, or code.")
    separator: str = Field("\n\n", description="Between exemplars, and before the input.")
    instruction: str | None = Field(None, description="Text before the exemplars.")
    target: str | None = Field(None, description="What a student learns to write after `input`.")
    delimiter: str | None = Field(None, description="Text before the final answer, such as `-->`.")
    answer_cue: str | None = Field(
        None, description="Second call of Zero-shot-CoT: appended to prompt and rationale to ask for the answer."
    )
    stop: list[str] = Field([], description="Sampling ends before any of these.")
    chat: bool = Field(False, description="Wrap the input in the model's own chat template.")

    @model_validator(mode="after")
    def _exemplars_have_a_form(self) -> "Prompt":
        if (self.exemplars > 0) != (self.exemplar is not None):
            raise ValueError("exemplar and exemplars go together: a form for a worked example, and how many are shown")
        return self
