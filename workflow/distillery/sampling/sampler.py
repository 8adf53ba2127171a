"""Sampling: n completions of every question, from the completion store or from the model.

Completions that the store has are not generated again; if it has all of them, no model is loaded. New completions go to
the store as they come: a killed job loses at most the unit that is being filled.
"""

import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from distillery.config.prompt import Prompt
from distillery.models.manifest import read_manifest
from distillery.records import Completion, Question
from distillery.sampling.backends.base import Backend, Generated, PendingRequest, open_backend
from distillery.sampling.budget import Budget, price_of
from distillery.sampling.chat import chat_wrapper
from distillery.sampling.claims import Claim, ForeignClaims
from distillery.sampling.requests import Request, Series, seed_of
from distillery.sampling.store import CompletionStore, SeriesReader
from distillery.sampling.units import GIVES_WAY, Stored
from distillery.sampling.writer import Writer, take_in_rescued
from distillery.tasks.prompts import Renderer, answer_request
from distillery.tasks.reasoning import with_opening

logger = logging.getLogger(__name__)

AGAIN_VARIABLE = "DISTILLERY_REQUEST_AGAIN"
"""Finish reasons of stored completions that are requested again, such as `failed` or `failed,refused`."""
INTERRUPTIONS = 3
"""Times that Ctrl-C is pressed while answers under way are awaited before they are given up."""


class CompletionSampler:
    """Answers requests from the store, and from the model for what is missing.

    Args:
        folder: Model folder, loaded at the first request that the store cannot answer.
        identity: Identity of its weights, as in the manifest.
        architecture: `causal` or `encoder-decoder`.
        parameters: Of the model, for estimates of what the next job costs; 0 where they are not known.
    """

    def __init__(
        self, folder: Path, identity: str, architecture: str, store: CompletionStore, parameters: int = 0
    ) -> None:
        self.folder, self.identity, self.architecture, self.store = folder, identity, architecture, store
        self.parameters = parameters
        self.budget = Budget.from_environment()
        self.requested = self.generated = self.tokens = 0
        self.seconds = 0.0
        self._backend: Backend | None = None

    @classmethod
    def of(cls, manifest: Path) -> "CompletionSampler":
        """The sampler of the model with this manifest, on the store that the environment names."""
        model = read_manifest(manifest)
        folder = manifest.parent / "model"
        return cls(folder, model.identity, model.architecture, CompletionStore(), model.parameters)

    def complete(
        self,
        requests: Sequence[Request],
        decoding: Mapping[str, Any],
        stop: list[str],
        what: str,
        choice: tuple[str, ...] = (),
        *,
        scored: bool = False,
    ) -> list[Stored]:
        """One completion for each request, in order; see `Series` for `choice` and `scored`."""
        series = Series.of(self.identity, decoding, stop, choice, scored=scored)
        keys = [request.key(series) for request in requests]
        again = outcomes_again()
        reader = SeriesReader(self.store, series, set(keys))
        reader.refresh()
        found = {key: stored for key, stored in reader.answers.items() if stored.finish_reason not in again}
        missing = {
            key: PendingRequest(key, request, seed_of(key))
            for key, request in zip(keys, requests, strict=True)
            if key not in found
        }
        logger.info(
            "%s: %d requested, %d in the store, %d to generate", what, len(keys), len(keys) - len(missing), len(missing)
        )
        self.requested += len(keys)
        if missing:
            found |= self._obtain(missing, series, what, reader)
        return [found[key] for key in keys]

    def _obtain(
        self, missing: Mapping[str, PendingRequest], series: Series, what: str, reader: SeriesReader
    ) -> dict[str, Stored]:
        """The answers of missing requests as the store has them: each is generated here, or by another process."""
        self.store.check_writable(series)
        take_in_rescued(self.store, series)
        folder = self.store.folder(series)
        locks = self.store.locks_folder(folder)
        foreign = ForeignClaims(locks, what)
        again = outcomes_again()
        done: set[str] = set()
        while len(done) < len(missing):
            claim = Claim(locks)
            with contextlib.closing(claim):
                with self.store.exclusive(folder):
                    claimed = foreign.keys()
                    reader.refresh()  # after the claims were read: who gives a claim back has written its answers
                    done |= {key for key in missing if self._is_answered(key, reader, again)}
                    mine = {key: missing[key] for key in missing if key not in done | claimed}
                    if mine:
                        claim.make(mine)
                if mine:
                    self._generate(mine, series, what, reader, claim)
                    done |= mine.keys()
            if len(done) < len(missing) and not mine:
                foreign.wait(missing.keys() - done)
        reader.refresh()
        return {key: reader.answers[key] for key in missing}

    @staticmethod
    def _is_answered(key: str, reader: SeriesReader, again: Collection[str]) -> bool:
        """Whether the store has an answer; one that was there before and is requested again is none."""
        return key in reader.recent or (key in reader.answers and reader.answers[key].finish_reason not in again)

    def _generate(
        self,
        missing: Mapping[str, PendingRequest],
        series: Series,
        what: str,
        reader: SeriesReader,
        claim: Claim,
    ) -> None:
        """Let the model answer requests; store and bill each answer when it comes."""
        allowed = self.budget.samples_left(len(missing))
        if not allowed:
            raise self.budget.refusal(what, 0, len(missing))
        backend = self._backend or open_backend(self.folder, self.architecture, self.budget, self.identity)
        self._backend = None  # until it has done what it was asked
        start = time.monotonic()
        writer = Writer(self.store, series, reader)
        generated: set[str] = set()
        finished = False

        def keep(answer: Generated) -> None:
            """Store and bill one answer: first of all, whatever comes next. The same answer again changes nothing."""
            if answer.key in generated:
                return
            request = missing[answer.key].request
            stored = Stored(
                key=answer.key,
                sample_index=request.sample_index,
                text=answer.text,
                finish_reason=answer.finish_reason,
                prompt_tokens=answer.prompt_tokens,
                completion_tokens=answer.completion_tokens,
            )
            money = price_of(self.identity, answer.prompt_tokens, answer.completion_tokens)
            try:
                writer.add(request.model_input, stored)
            finally:
                self.budget.note(samples=1, tokens=answer.completion_tokens, money=money, request=answer.key)
            generated.add(answer.key)
            self.tokens += answer.completion_tokens
            bar.update()

        def keep_the_rest() -> None:
            if not finished:  # also after Ctrl-C: what is under way is paid for
                keep_all_in_flight(backend, keep)

        with (
            contextlib.ExitStack() as at_the_end,
            tqdm(total=len(missing), desc=what, unit="completion", mininterval=2) as bar,
            contextlib.ExitStack() as before,
        ):
            # The last of these is called first. All are called twice: Ctrl-C may come in the middle of each, or between
            # two, and each continues where it was.
            for step in (self.budget.close, writer.flush, keep_the_rest):
                at_the_end.callback(step)
                before.callback(step)
            for answer in backend.generate(list(missing.values())[:allowed], series):
                keep(answer)
                claim.check()
                if self.budget.exhausted and len(generated) < len(missing):
                    raise self.budget.refusal(what, len(generated), len(missing))
            finished = True
        self._backend = backend
        self.seconds += time.monotonic() - start
        self.generated += len(generated)
        if generated != missing.keys():
            if self.budget.limits:
                raise self.budget.refusal(what, len(generated), len(missing))
            raise RuntimeError(f"{what}: the backend gave {len(generated)} completions for {len(missing)} requests")

    def report(self) -> dict[str, Any]:
        """What sampling has cost: logged, and as plain counts for the provenance record."""
        logger.info(
            "%d requests: %d from the store, %d generated, %d tokens in %.0f s (%.0f tokens/s)",
            self.requested,
            self.requested - self.generated,
            self.generated,
            self.tokens,
            self.seconds,
            self.tokens / self.seconds if self.seconds else 0,
        )
        return {
            "requested": self.requested,
            "generated": self.generated,
            "completion_tokens": self.tokens,
            "seconds": round(self.seconds, 2),
            "parameters": self.parameters,
        }


def keep_all_in_flight(backend: Backend, keep: Callable[[Generated], None]) -> None:
    """Keep what is paid for and under way; somebody who presses Ctrl-C once more loses nothing either."""
    for _ in range(INTERRUPTIONS):
        with contextlib.suppress(KeyboardInterrupt):
            for answer in backend.answers_in_flight():
                try:
                    keep(answer)
                except Exception as fault:  # the first fault is what the user is shown
                    logger.warning("%s", fault)
            return


def outcomes_again() -> frozenset[str]:
    """Outcomes in the store that the user wants requested again: those that give way to a later completion."""
    named = frozenset(filter(None, map(str.strip, os.environ.get(AGAIN_VARIABLE, "").split(","))))
    if named - GIVES_WAY.keys():
        others = ", ".join(sorted(named - GIVES_WAY.keys()))
        logger.warning("%s: %s is passed over; only %s can be named", AGAIN_VARIABLE, others, " and ".join(GIVES_WAY))
    return named & GIVES_WAY.keys()


def sample(
    questions: Iterable[Question],
    exemplars: Sequence[Mapping[str, str]],
    spec: Mapping[str, Any],
    model_sampler: CompletionSampler,
    *,
    sampler: str,
) -> tuple[list[Completion], dict[str, Any]]:
    """Sample `spec["samples"]` completions of every question.

    Args:
        spec: `prompt` (a Prompt section), `decoding` (a Decoding section) and `samples`.
        sampler: Name written into every record.

    Returns:
        The completions and a summary; the summary holds only what is the same however often the job was interrupted.

    Source: Fine-tune-CoT, section 3.1: reasoning first, then (two-call prompts) the answer, greedily.
    """
    prompt = Prompt.model_validate(spec["prompt"])
    rows, requests = requests_for(questions, exemplars, spec, model_sampler.folder)
    first = model_sampler.complete(requests, spec["decoding"], prompt.stop, f"sample {sampler}")
    answers: list[Stored] | list[None] = [None] * len(rows)
    if prompt.answer_cue is not None:
        greedy = {**spec["decoding"], "temperature": 0.0, "max_new_tokens": spec["decoding"]["answer_tokens"]}
        cued = [
            Request(answer_request(prompt, request.prompt, rationale.text), 0, request.special_tokens)
            for request, rationale in zip(requests, first, strict=True)
        ]
        answers = model_sampler.complete(cued, greedy, prompt.stop, f"answers of {sampler}")
    completions = [
        Completion(
            completion_id=written.key,
            qid=question.qid,
            sampler=sampler,
            sample_index=index,
            text=with_opening(request.prompt, written.text),
            finish_reason=written.finish_reason,  # type: ignore[arg-type]  # checked by the record
            answer_text=None if answer is None else answer.text,
            answer_id=None if answer is None else answer.key,
            prompt_tokens=written.prompt_tokens + (answer.prompt_tokens if answer else 0),
            completion_tokens=written.completion_tokens + (answer.completion_tokens if answer else 0),
        )
        for (question, index), request, written, answer in zip(rows, requests, first, answers, strict=True)
    ]
    return completions, summarise(completions)


def requests_for(
    questions: Iterable[Question], exemplars: Sequence[Mapping[str, str]], spec: Mapping[str, Any], folder: Path
) -> tuple[list[tuple[Question, int]], list[Request]]:
    """Question and sample index of every completion, and its request (the first call of two)."""
    prompt = Prompt.model_validate(spec["prompt"])
    renderer = Renderer(prompt, exemplars)
    wrap = wrapper(prompt, folder)
    rows = [(question, index) for question in questions for index in range(spec["samples"])]
    inputs = {
        (question.qid, block): wrap(renderer.input(question.question, block))
        for question, index in rows
        for block in [index % prompt.rounds]
    }
    return rows, [
        Request(inputs[question.qid, index % prompt.rounds], index, not prompt.chat) for question, index in rows
    ]


def summarise(completions: Sequence[Completion]) -> dict[str, Any]:
    """Counts of a file of completions: questions, finish reasons, tokens."""
    reasons = Counter(completion.finish_reason for completion in completions)
    return {
        "completions": len(completions),
        "questions": len({completion.qid for completion in completions}),
        "finish_reasons": dict(sorted(reasons.items())),
        "prompt_tokens": sum(completion.prompt_tokens for completion in completions),
        "completion_tokens": sum(completion.completion_tokens for completion in completions),
        "distinct_texts": len({(completion.qid, completion.text) for completion in completions}),
    }


def wrapper(prompt: Prompt, folder: Path) -> Callable[[str], str]:
    """What turns a rendered prompt into model input: the chat template, which an endpoint applies itself."""
    return chat_wrapper(folder) if prompt.chat and not (folder / "api.json").exists() else str
