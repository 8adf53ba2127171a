"""The interface of the backends, and the choice of a backend for a model on this machine."""

import importlib.util
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from distillery.errors import UserError
from distillery.sampling.budget import Budget
from distillery.sampling.requests import Request, Series

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A request on its way, with its key and seed."""

    key: str
    request: Request
    seed: int


@dataclass(frozen=True, slots=True)
class Generated:
    """The completion of a request."""

    key: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class Backend(Protocol):
    """A loaded model. `generate` yields each completion when it is done, in any order, one for each request."""

    def generate(self, requests: Sequence[PendingRequest], series: Series) -> Iterator[Generated]: ...

    def answers_in_flight(self) -> Iterator[Generated]:
        """Answers that are paid for and under way when the caller stops `generate` early; local engines have none."""
        return iter(())


def backend_name(architecture: str) -> str:
    """Which backend serves a model of this architecture on this machine.

    Raises:
        UserError: DISTILLERY_BACKEND asks for one that cannot.
    """
    wish = os.environ.get("DISTILLERY_BACKEND", "auto")
    if wish not in {"auto", "vllm", "transformers"}:
        raise UserError(
            "no such backend", key="DISTILLERY_BACKEND", value=wish, remedy="Use auto, vllm or transformers"
        )
    if wish == "vllm" and architecture != "causal":
        raise UserError(
            f"vLLM does not serve {architecture} models",
            key="DISTILLERY_BACKEND",
            value=wish,
            remedy="Use auto or transformers",
        )
    installed = importlib.util.find_spec("vllm") is not None
    if wish == "vllm" and not installed:
        raise UserError("vLLM is not installed", key="DISTILLERY_BACKEND", value=wish, remedy="Run `make environment`")
    if wish == "transformers" or architecture != "causal":
        return "transformers"
    if not installed:
        logger.warning("vLLM is not installed here: sampling through transformers, which is slower")
        return "transformers"
    return "vllm"


def open_backend(folder: Path, architecture: str, budget: Budget | None = None, identity: str = "") -> Backend:
    """Load the model in `folder`, or reach its endpoint within the budget of the run."""
    if architecture == "api":
        from distillery.sampling.backends.api import ApiBackend

        return ApiBackend(folder, budget or Budget({}, Path()), identity)
    name = backend_name(architecture)
    logger.info("loading %s with %s", folder, name)
    if name == "vllm":
        from distillery.sampling.backends.vllm import VllmBackend

        return VllmBackend(folder)
    from distillery.sampling.backends.transformers import TransformersBackend

    return TransformersBackend(folder, architecture)
