"""`config/samplers/*.yaml`: who is asked, how, and how often."""

from typing import Literal

from pydantic import Field, model_validator

from distillery.config.base import Name, Section


class Decoding(Section):
    """How text is drawn. All of it shapes the output, hence is part of every completion's key."""

    temperature: float = Field(0.0, ge=0, description="0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, description="0 considers all tokens.")
    max_new_tokens: int = Field(128, ge=1)
    answer_tokens: int = Field(32, ge=1, description="Limit of the second, greedy call of a two-call prompt.")
    seed: int = Field(0, description="Another seed draws other samples.")


class Sampler(Section):
    """A model with a prompt and a way of decoding. `model: trained` is bound by a recipe (its mentor)."""

    sampler: Name
    model: Name | Literal["trained"]
    prompt: Name
    samples: int = Field(1, ge=1, description="Completions per question: the degree of Fine-tune-CoT.")
    decoding: Decoding = Decoding()

    @model_validator(mode="after")
    def _greedy_draws_once(self) -> "Sampler":
        if self.decoding.temperature == 0 and self.samples > 1:
            raise ValueError("greedy decoding repeats one completion; set samples: 1, or a temperature above 0")
        return self
