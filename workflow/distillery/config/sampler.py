"""`config/samplers/*.yaml`: which model generates completions, with which prompt, how, and how many."""

from typing import Literal

from pydantic import Field, model_validator

from distillery.config.base import Name, Section


class Decoding(Section):
    """How text is sampled. All of it shapes the output, so it is part of every completion's key."""

    temperature: float = Field(0.0, ge=0, description="0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, description="0 considers all tokens.")
    max_new_tokens: int = Field(128, ge=1)
    answer_tokens: int = Field(32, ge=1, description="Limit of the second, greedy call of a two-call prompt.")
    seed: int = Field(0, description="Another seed gives other samples.")


class Sampler(Section):
    """A model with a prompt and a way of decoding. `model: trained` is a trained model: a mentor or a student."""

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
