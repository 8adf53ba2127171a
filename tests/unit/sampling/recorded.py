"""An engine that answers at once and keeps every request that would have reached a model, with its way of decoding."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from distillery.sampling.backends.base import Backend, Generated, PendingRequest
from distillery.sampling.requests import Series
from distillery.sampling.sampler import CompletionSampler
from distillery.sampling.store import CompletionStore


class Recorder(Backend):
    """What reaches the end of the sampling room. Answers name the sample, so that equal texts are equal requests."""

    def __init__(self, answer: Callable[[PendingRequest], str] = lambda pending: " It follows.") -> None:
        self.answer = answer
        self.calls: list[tuple[Series, list[PendingRequest]]] = []

    def generate(self, requests: Sequence[PendingRequest], series: Series) -> Iterator[Generated]:
        self.calls.append((series, list(requests)))
        for pending in requests:
            yield Generated(pending.key, self.answer(pending), "stop", 1, 1)

    @property
    def prompts(self) -> list[str]:
        return [pending.request.prompt for _, requests in self.calls for pending in requests]


class RecordingSampler(CompletionSampler):
    """A sampler whose engine is a Recorder; it has a store of its own, so nothing is answered from before."""

    def __init__(self, folder: Path, recorder: Recorder, store: Path) -> None:
        super().__init__(folder, "weights:m", "causal", CompletionStore(str(store)))
        self._backend = self.recorder = recorder
