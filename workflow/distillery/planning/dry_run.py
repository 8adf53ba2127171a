"""The dry run: the stages that request completions, gone through without a model, to count what they will generate.

The very function of a stage makes its requests; a sampler that only looks into the store answers
them. What the store lacks is counted, and a stand-in takes its place, so that what is requested
with it is counted too:

    mistakes -> feedback, rationales -> reviews -> scores

Where a rationale is not written yet, the count is an upper bound: it may turn out empty, and is then not reviewed;
and an answer check in front of the reviews may stop it.
Where the mistakes are not known either, all train questions stand in for them, or as many as the limit of student
answers allows.

Programs are not run and searches not followed. Repairs and searches are counted as if none ended early;
`distillery.planning.expected` says how many of them to expect.
"""

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from distillery.config.review import StudentAnswers
from distillery.files import read_json_lines
from distillery.jobs.job import as_list
from distillery.models.manifest import describe_endpoint, read_manifest
from distillery.peer_review.ask import ask_reviewers, ask_teachers, hints_of
from distillery.peer_review.assignments import assignments, passed_in
from distillery.peer_review.mistakes import find_mistakes
from distillery.peer_review.records import Mistake, Taught
from distillery.planning import stages
from distillery.planning.forecast import Contents, Forecast, JobStatus
from distillery.programs.self_refinement import most_repairs
from distillery.programs.step_search import most_lines
from distillery.records import Completion, Question, Verdict, read_records
from distillery.sampling.backends.base import PendingRequest
from distillery.sampling.budget import price_of
from distillery.sampling.requests import Request, Series
from distillery.sampling.sampler import CompletionSampler, sample
from distillery.sampling.store import CompletionStore, SeriesReader, Stored

CHARACTERS_PER_TOKEN = 4
"""Of English prompts, for the price of new requests; an endpoint's tokenizer is not at hand."""

USUAL_TOKENS = 100
"""Of a question or a student's answer that is not written yet, for the same."""

_PENDING = re.compile("\0pending ([^\0]+)\0")

T = TypeVar("T")


def pending(name: str) -> str:
    """A stand-in for a text that is not written yet. No model writes the zero character, so it is in no store."""
    return f"\0pending {name}\0"


@dataclass(frozen=True)
class RequestCount:
    """What a job requests of a model. `samples` is None where nobody can tell; `stored` are in the store.

    `at_most`: the requests depend on texts that are not written yet. They will not be more; `money` is for this bound.
    """

    samples: int | None
    stored: int = 0
    money: float = 0.0
    at_most: bool = False


UNKNOWN = RequestCount(None)


@dataclass
class Counted:
    """Requests of the jobs of a graph so far: no key is generated twice, by any two jobs.

    `tokens` are expected of the texts that are not written yet, by key.
    """

    keys: set[str] = field(default_factory=set)
    tokens: dict[str, int] = field(default_factory=dict)


class StoreOnlySampler(CompletionSampler):
    """A sampler without a model.

    Args:
        folder: Model folder, for its chat template.
        identity: Of the weights, or a name of their own for weights that are not made yet.
        counted: Of all jobs before this one; what is counted here joins it.
    """

    def __init__(self, folder: Path, identity: str, store: CompletionStore, counted: Counted) -> None:
        super().__init__(folder, identity, "causal", store)
        self.counted = counted
        self.samples = self.stored = 0
        self.money = 0.0
        self.at_most = False

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
        """What the store has, and stand-ins for the rest; both are counted."""
        given = super().complete(requests, decoding, stop, what, choice, scored=scored)
        requested = {answer.key: (answer, request) for answer, request in zip(given, requests, strict=True)}
        lacking = {key: request for key, (answer, request) in requested.items() if answer.text == pending(key)}
        written = [answer.completion_tokens for key, (answer, _) in requested.items() if key not in lacking]
        tokens = int(statistics.median(written) if written else decoding["max_new_tokens"])
        for key in requested.keys() - self.counted.keys:
            self.samples += key in lacking
            self.stored += key not in lacking
            if key in lacking:
                self.money += price_of(self.identity, self._length(lacking[key].prompt), tokens)
        self.counted.keys.update(requested)
        self.counted.tokens |= dict.fromkeys(lacking, tokens)
        # Two texts that are not written yet may come out equal; then one request serves both.
        blank = {(_PENDING.sub("", request.prompt), request.sample_index) for request in lacking.values()}
        self.at_most |= len(blank) < len(lacking)
        return given

    def _obtain(
        self, missing: Mapping[str, PendingRequest], series: Series, what: str, reader: SeriesReader
    ) -> dict[str, Stored]:
        return {
            key: Stored(key, pending_request.request.sample_index, pending(key), "stop", 0, 0)
            for key, pending_request in missing.items()
        }

    def _length(self, prompt: str) -> int:
        """Tokens of a prompt, and those expected of the texts in it that are not written yet."""
        to_come = sum(self.counted.tokens.get(name, USUAL_TOKENS) for name in _PENDING.findall(prompt))
        return len(_PENDING.sub("", prompt)) // CHARACTERS_PER_TOKEN + to_come

    @property
    def count(self) -> RequestCount:
        return RequestCount(self.samples, self.stored, self.money, self.at_most and self.samples > 0)


class Known(NamedTuple, Generic[T]):
    """Records that a job will read. Where they are not `exact`, stand-ins for all that there may be."""

    records: list[T]
    exact: bool


class DryRun:
    """What the jobs of a graph request, job by job in the order of the graph.

    Args:
        forecasts: All jobs. `contents`: what paths will hold; both from `forecast_jobs`.
    """

    def __init__(self, forecasts: Sequence[Forecast], contents: Contents, store: CompletionStore) -> None:
        self.contents, self.store = contents, store
        self._maker = {path: forecast for forecast in forecasts for path in forecast.node.job.results.values()}
        self._rationales: dict[Path, list[Taught]] = {}
        self._counted = Counted()

    def maker(self, path: Path) -> Forecast | None:
        """The job that makes a file; None of a file that no job makes."""
        return self._maker.get(path)

    def of(self, forecast: Forecast) -> RequestCount | None:
        """What a job requests; None for a stage that requests nothing of a model."""
        match forecast.node.job.stage:
            case stages.SAMPLE:
                return self._sample(forecast)
            case stages.ASK_TEACHERS:
                return self._ask_teachers(forecast)
            case stages.PEER_REVIEW:
                return self._peer_review(forecast)
            case stages.REFINE:
                return self._bound(forecast, most_repairs)
            case stages.SEARCH:
                return self._bound(forecast, most_lines)
        return None

    def _sample(self, forecast: Forecast) -> RequestCount:
        questions, exemplars = self.questions(forecast), self._exemplars(forecast)
        if questions is None or exemplars is None:
            return UNKNOWN
        model_sampler, params = self._sampler_of(forecast)
        model_sampler.at_most |= not questions.exact
        sample(questions.records, exemplars, params["spec"], model_sampler, sampler=params["sampler"])
        return model_sampler.count

    def _ask_teachers(self, forecast: Forecast) -> RequestCount:
        mistakes, exemplars = self.mistakes(forecast), self._exemplars(forecast)
        if mistakes is None or exemplars is None:
            return UNKNOWN
        model_sampler, params = self._sampler_of(forecast)
        model_sampler.at_most |= not mistakes.exact
        rationales, _ = ask_teachers(mistakes.records, exemplars, params["teachers"], model_sampler)
        self._rationales[forecast.node.job.results["rationales"]] = rationales
        return model_sampler.count

    def _peer_review(self, forecast: Forecast) -> RequestCount:
        mistakes, rationales = self.mistakes(forecast), self._written(forecast)
        hinted = self.questions(forecast) if forecast.node.job.inputs.get("questions") else Known[Question]([], True)
        if mistakes is None or rationales is None or hinted is None:
            return UNKNOWN
        model_sampler, params = self._sampler_of(forecast)
        review = params["review"]
        passed = None
        if gate := as_list(forecast.node.job.inputs.get("verdicts", [])):
            file = self.contents.readable(gate[0])
            model_sampler.at_most |= file is None
            passed = None if file is None else passed_in(file, params["grader"])
        todo, _ = assignments(rationales, params["routing"], passed)
        own = [assigned.rationale.text for assigned in todo if assigned.reviewer in params["reviewers"]]
        model_sampler.at_most |= not mistakes.exact or any(_PENDING.search(text) for text in own)
        ask_reviewers(
            todo,
            mistakes.records,
            params["reviewers"],
            model_sampler,
            protocol=review["protocol"],
            decoding=review["decoding"],
            hints=hints_of(review["hint"], mistakes.records, hinted.records),
            samples=review["samples"],
        )
        return model_sampler.count

    def _bound(self, forecast: Forecast, most: Callable[[Mapping[str, Any]], int]) -> RequestCount:
        questions = self.questions(forecast)
        if questions is None:
            return UNKNOWN
        return RequestCount(len(questions.records) * most(forecast.node.job.params["spec"]), at_most=True)

    def _sampler_of(self, forecast: Forecast) -> tuple[StoreOnlySampler, Mapping[str, Any]]:
        """A sampler of the job's model, and the parameters of the job.

        Of a model that is not made yet, nothing is in the store. Without a folder there is no chat template, so that
        it cannot be looked up; then all is counted.
        """
        (manifest,) = as_list(forecast.node.job.inputs["manifest"])
        folder, params = manifest.parent / "model", forecast.node.job.params
        identity = self._identity(manifest)
        model_sampler = StoreOnlySampler(folder, identity or f"not made yet: {manifest}", self.store, self._counted)
        if not folder.exists() and _without_chat(params) != params:
            params = _without_chat(params)
            model_sampler.at_most = identity is not None
        return model_sampler, params

    def _identity(self, manifest: Path) -> str | None:
        """Identity of a model. An endpoint's is known before there is a manifest: what it charges is worth knowing."""
        file, maker = self.contents.readable(manifest), self.maker(manifest)
        if file is not None:
            return read_manifest(file).identity
        spec = maker.node.job.params.get("spec", {}) if maker else {}
        if spec.get("kind") == "api":
            return describe_endpoint("", spec["id"], spec["endpoint"]).identity
        return None

    def _now(self, path: Path) -> Path | None:
        """A file that holds now what a path will hold, or what it held before where that is not known yet."""
        return self.contents.readable(path) or (path if path.is_file() else None)

    def questions(self, forecast: Forecast) -> Known[Question] | None:
        (path,) = as_list(forecast.node.job.inputs["questions"])
        file = self._now(path)
        if file is not None:
            return Known(list(read_records(file, Question)), True)
        spec = self._spec_of_task(path)
        size = spec["sizes"][path.stem] if spec else None
        return None if size is None else Known(_unknown_questions(size), False)

    def _exemplars(self, forecast: Forecast) -> list[dict[str, Any]] | None:
        (path,) = as_list(forecast.node.job.inputs["exemplars"])
        file = self._now(path)
        if file is not None:
            return list(read_json_lines(file))
        spec = self._spec_of_task(path)
        if spec is None:
            return None
        fields = ("question", "rationale", "gold", "program")
        count = spec["exemplars"]["count"] or len(spec["exemplars"]["written"])
        return [{field: pending(f"{field} of exemplar {number}") for field in fields} for number in range(count)]

    def _spec_of_task(self, path: Path) -> Mapping[str, Any] | None:
        """The task of questions or exemplars that are not made yet."""
        maker = self.maker(path)
        return maker.node.job.params["spec"] if maker and maker.node.job.stage == stages.QUESTIONS else None

    def mistakes(self, forecast: Forecast) -> Known[Mistake] | None:
        """Mistakes as recorded, or as they come out of graded student answers; else stand-ins."""
        (path,) = as_list(forecast.node.job.inputs["mistakes"])
        file = self.contents.readable(path)
        if file is not None:
            return Known(list(read_records(file, Mistake)), True)
        maker = self.maker(path)
        if maker is None or maker.node.job.stage != stages.MISTAKES:
            return None
        student_answers = StudentAnswers.model_validate(maker.node.job.params["student_answers"])
        inputs = [self.contents.readable(as_list(given)[0]) for _, given in sorted(maker.node.job.inputs.items())]
        if maker.status is JobStatus.COMPUTED and None not in inputs:
            completions, questions, verdicts = (file for file in inputs if file is not None)
            found, _ = find_mistakes(
                read_records(questions, Question),
                read_records(completions, Completion),
                read_records(verdicts, Verdict),
                student_answers,
            )
            return Known(found, True)
        answered = self.questions(maker)
        if answered is None:
            return None
        possible = answered.records
        if student_answers.limit is not None and student_answers.limit < len(possible):
            possible = _unknown_questions(student_answers.limit)
        return Known([_any_mistake(question) for question in possible], False)

    def _written(self, forecast: Forecast) -> list[Taught] | None:
        """Rationales that a peer review reads; those to be written as the dry run of their job left them."""
        found: list[Taught] = []
        for path in as_list(forecast.node.job.inputs["rationales"]):
            file = self.contents.readable(path)
            if file is None and path not in self._rationales:
                return None
            found += self._rationales[path] if file is None else read_records(file, Taught)
        return found


def _unknown_questions(count: int) -> list[Question]:
    return [
        Question(qid=name, task="", question=pending(name), gold=pending(f"gold of {name}"))
        for name in (f"question {number}" for number in range(count))
    ]


def _any_mistake(question: Question) -> Mistake:
    return Mistake(
        qid=question.qid,
        question=question.question,
        gold=question.gold,
        text=pending(f"answer to {question.qid}"),
        answer=None,
        kind="unparsable",
        completion_id=None,
    )


def _without_chat(value: Any) -> Any:
    """Plain values of which no prompt goes through a chat template."""
    if isinstance(value, Mapping):
        return {key: False if key == "chat" else _without_chat(inner) for key, inner in value.items()}
    return value
