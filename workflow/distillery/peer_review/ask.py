"""Asking: teachers for feedback and rationales, reviewers for scores, through the completion store.

Teachers and reviewers with one model share a job, so that it is loaded once; who else sits on the committee is in no
key, so that a new member only adds its own calls. The longest prompts are asked first: an engine makes room for the
longest it has seen.

    rationale    sees the question
    feedback     sees the question, the student's wrong answer and the gold answer
    review       sees the question, the rationale and a hint; never its author
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from distillery.config.prompt import Prompt
from distillery.peer_review.assignments import Assignment
from distillery.peer_review.records import HIGHEST, LOWEST, Mistake, Reply, Review, Taught, is_null
from distillery.peer_review.scores import Protocol, expected_score, review_of
from distillery.records import Completion, Question
from distillery.sampling.logprobs import decode_choice
from distillery.sampling.requests import Request
from distillery.sampling.sampler import CompletionSampler, sample, wrapper
from distillery.sampling.store import Stored
from distillery.tasks.prompts import Renderer

SCORES = tuple(str(score) for score in range(LOWEST, HIGHEST + 1))


class Call(NamedTuple):
    """One prompt section with all that is asked with it."""

    longest: int
    ask: Callable[[], None]


def ask_teachers(
    mistakes: Sequence[Mistake],
    exemplars: Sequence[Mapping[str, str]],
    teachers: Mapping[str, Mapping[str, Any]],
    model_sampler: CompletionSampler,
) -> tuple[list[Taught], list[Taught]]:
    """A rationale and feedback of each teacher on each mistake.

    Args:
        teachers: Name -> `rationale` and `feedback`, each with `prompt` and `decoding` sections. All have one model.

    Returns:
        Rationales, feedback.

    Source: MAPD (arXiv 2410.03663); public code: feedback is told the gold answer as a hint, rationales are not.
    """
    rationales: list[Taught] = []
    feedback: list[Taught] = []
    questions = [Question(qid=one.qid, task="", question=one.question, gold=one.gold) for one in mistakes]
    calls = []
    for name, teacher in teachers.items():

        def reason(name: str = name, spec: Mapping[str, Any] = teacher["rationale"]) -> None:
            written, _ = sample(questions, exemplars, {**spec, "samples": 1}, model_sampler, sampler=name)
            rationales.extend(Taught.model_validate(one.model_dump()) for one in written)

        def correct(name: str = name, spec: Mapping[str, Any] = teacher["feedback"]) -> None:
            feedback.extend(_feedback(mistakes, exemplars, spec, model_sampler, name))

        calls += [Call(_length(teacher["rationale"]), reason), Call(_length(teacher["feedback"]), correct)]
    _in_order(calls)
    return sorted(rationales, key=Taught.sort_key), sorted(feedback, key=Taught.sort_key)


def ask_reviewers(
    assignments: Sequence[Assignment],
    mistakes: Sequence[Mistake],
    reviewers: Mapping[str, Mapping[str, Any]],
    model_sampler: CompletionSampler,
    *,
    protocol: Protocol,
    decoding: Mapping[str, Any],
    hints: Mapping[str, str],
    samples: int = 1,
) -> tuple[list[Review], list[Reply]]:
    """The reviews of all reviewers with one model, and all that they wrote.

    Args:
        assignments: Of all reviewers; those of `reviewers` are asked.
        mistakes: Their questions.
        reviewers: Name -> prompt section. Under `robust` a prompt with `answer_cue` asks twice: a free critique, then
            one of the five scores, of which the model's probabilities are known.
        hints: Question id -> what a reviewer is told of the gold answer.
        samples: Of each review.

    Source: MAPD (arXiv 2410.03663) for `paper`; G-Eval (arXiv 2303.16634) for scores by probability.
    """
    asked = {one.qid: one.question for one in mistakes}
    reviews: list[Review] = []
    replies: list[Reply] = []
    for name, section in reviewers.items():
        prompt = Prompt.model_validate(section)
        own = [(one, index) for one in assignments if one.reviewer == name for index in range(samples)]
        if not own:
            continue
        renderer = Renderer(prompt, [], fields=("rationale", "hint"))
        wrap = wrapper(prompt, model_sampler.folder)
        requests = [
            Request(
                wrap(renderer.input(asked[one.qid], rationale=one.rationale.text.strip(), hint=hints.get(one.qid, ""))),
                index,
                not prompt.chat,
            )
            for one, index in own
        ]
        first = model_sampler.complete(requests, decoding, prompt.stop, f"reviews of {name}")
        second: Sequence[Stored | None] = [None] * len(own)
        if protocol == "robust" and prompt.answer_cue is not None:
            cued = [
                Request(request.prompt + one.text + prompt.answer_cue, 0, request.special_tokens)
                for request, one in zip(requests, first, strict=True)
            ]
            greedy = {**decoding, "temperature": 0.0, "max_new_tokens": 1}
            second = model_sampler.complete(cued, greedy, [], f"scores of {name}", SCORES)
        for (assignment, _), written, chosen in zip(own, first, second, strict=True):
            reply = _reply(assignment, written, chosen)
            replies.append(reply)
            reviews.append(review_of(assignment, reply, protocol, expected_score(reply.logprobs)))
    return sorted(reviews, key=Review.sort_key), sorted(replies, key=Reply.sort_key)


def hints_of(hint: str, mistakes: Sequence[Mistake], questions: Iterable[Question]) -> dict[str, str]:
    """Question id -> what a reviewer is told: the gold answer, the whole reference solution, or nothing.

    Args:
        questions: Read for reference solutions; a question without one gives its gold answer.
    """
    match hint:
        case "answer":
            return {one.qid: one.gold for one in mistakes}
        case "reference":
            return {one.qid: one.rationale or one.gold for one in questions}
    return {}


def _feedback(
    mistakes: Sequence[Mistake],
    exemplars: Sequence[Mapping[str, str]],
    spec: Mapping[str, Any],
    model_sampler: CompletionSampler,
    teacher: str,
) -> list[Taught]:
    prompt = Prompt.model_validate(spec["prompt"])
    renderer = Renderer(prompt, exemplars, fields=("wrong", "gold"))
    wrap = wrapper(prompt, model_sampler.folder)
    requests = [
        Request(wrap(renderer.input(one.question, wrong=one.text.strip(), gold=one.gold)), 0, not prompt.chat)
        for one in mistakes
    ]
    written = model_sampler.complete(requests, spec["decoding"], prompt.stop, f"feedback of {teacher}")
    return [
        Taught.model_validate({**_of(text), "qid": mistake.qid, "sampler": teacher})
        for mistake, text in zip(mistakes, written, strict=True)
    ]


def _reply(assignment: Assignment, written: Stored, chosen: Stored | None) -> Reply:
    """What a reviewer wrote. A server that does not keep to the choice gives a text, and the text is read as one."""
    reply: dict[str, Any] = {
        **_of(written),
        "qid": assignment.qid,
        "sampler": assignment.reviewer,
        "author": assignment.author,
        "rationale_id": assignment.rationale.completion_id,
    }
    if chosen is not None:
        choice = decode_choice(chosen.text, SCORES)
        reply |= {
            "answer_text": chosen.text if choice is None else choice.choice,
            "answer_id": chosen.key,
            "logprobs": {} if choice is None else choice.logprobs,
            "prompt_tokens": written.prompt_tokens + chosen.prompt_tokens,
            "completion_tokens": written.completion_tokens + chosen.completion_tokens,
        }
    return Reply.model_validate(reply)


def _of(stored: Stored) -> dict[str, Any]:
    return {
        "completion_id": stored.key,
        "sample_index": stored.sample_index,
        "text": stored.text,
        "finish_reason": stored.finish_reason,
        "prompt_tokens": stored.prompt_tokens,
        "completion_tokens": stored.completion_tokens,
    }


def _length(spec: Mapping[str, Any]) -> int:
    """About how long a prompt is, worked examples included: enough to tell which is longest."""
    prompt = spec["prompt"]
    return len(prompt.get("instruction") or "") + 300 * prompt["exemplars"] + spec["decoding"]["max_new_tokens"]


def _in_order(calls: Sequence[Call]) -> None:
    for call in sorted(calls, key=lambda call: -call.longest):
        call.ask()


def counts_of(written: Sequence[Completion]) -> dict[str, Any]:
    """Who wrote how much, and how much of it is nothing."""
    found: dict[str, dict[str, int]] = {}
    for one in written:
        of = found.setdefault(one.sampler, {"completions": 0, "null": 0, "cut_off": 0, "completion_tokens": 0})
        of["completions"] += 1
        of["null"] += is_null(one)
        of["cut_off"] += one.finish_reason == "length"
        of["completion_tokens"] += one.completion_tokens
    return dict(sorted(found.items()))
