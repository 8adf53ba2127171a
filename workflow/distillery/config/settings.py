"""`config/config.yaml`: what one run makes, what it may spend, and how it isolates programs."""

from typing import Any, Literal

from pydantic import Field

from distillery.config.base import Name, Section


class Budget(Section):
    """What one run may spend on sampling. A spent budget stops the run; what was generated is kept."""

    samples: int | None = Field(None, ge=0, description="Completions generated; those in the store cost nothing.")
    tokens: int | None = Field(None, ge=0, description="Tokens generated.")
    money: float | None = Field(None, ge=0, description="In the unit of the prices in models.yaml.")


class Settings(Section):
    """`config/config.yaml`."""

    experiments: list[Name] = Field(min_length=1, description="Tables that `rule all` makes.")
    overrides: dict[str, Any] = Field(
        {}, description="Declared settings changed for this run: `tasks.arithmetic.sizes.train: 40`."
    )
    budget: Budget = Budget()
    sandbox: Literal["auto", "bwrap", "seccomp", "unsafe"] = Field(
        "auto", description="Isolation of programs that models write; `unsafe` has none. docs/sandbox.md."
    )
