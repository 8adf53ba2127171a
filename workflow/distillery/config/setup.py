"""`config/setups.yaml`: who teaches and mentors, and with what budget of training."""

from typing import Any

from pydantic import Field

from distillery.config.base import Name, Section


class Setup(Section):
    """The circumstances in which recipes are carried out: who teaches, and with what budget.

    Recipes name parts (teacher, mentor), setups name models. Settings are laid over each other in this order: recipe
    file, the setup's `train`, the setup's `recipes`, the arm's own.
    """

    teacher: Name | None = Field(None, description="Sampler whose completions are the teacher's rationales.")
    program_teacher: Name | None = Field(None, description="Sampler whose completions are programs (PaD).")
    mentor: Name | None = Field(None, description="Base model of the mentor.")
    committee: Name | None = Field(None, description="Who gives feedback and rationales on the student's mistakes.")
    train: dict[str, Any] = Field({}, description="Laid over the `train` section of every trained recipe.")
    recipes: dict[Name, dict[str, Any]] = Field({}, description="Recipe -> sections laid over that recipe.")
