"""Requests to a committee: feedback and rationales from teachers, scores from reviewers, through the completion store.

Teachers and reviewers with the same model share a job, so that the model is loaded once. The other members of the
committee are in no key, so that a new member only adds its own requests. The longest prompts come first, because an
engine reserves memory for the longest prompt so far.

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
from distillery.tasks.prompts import Renderer, answer_request
from distillery.tasks.reasoning import with_opening

SCORES = tuple(str(score) for score in range(LOWEST, HIGHEST + 1))


class Call(NamedTuple):
    """The requests of one prompt section."""

    length: int
    send: Callable[[], None]


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

    Source: MAPD (arXiv 2410.03663); public code: the prompt for feedback shows the gold answer, that for rationales
    does not.
    """
    rationales: list[Taught] = []
    feedback: list[Taught] = []
    questions = [
        Question(qid=mistake.qid, task="", question=mistake.question, gold=mistake.gold) for mistake in mistakes
    ]
    calls = []
    for name, teacher in teachers.items():

        def reason(name: str = name, spec: Mapping[str, Any] = teacher["rationale"]) -> None:
            written, _ = sample(questions, exemplars, {**spec, "samples": 1}, model_sampler, sampler=name)
            rationales.extend(Taught.model_validate(completion.model_dump()) for completion in written)

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
    """The reviews of all reviewers with one model, and their full replies.

    Args:
        assignments: Of all reviewers; only those of `reviewers` are used.
        mistakes: Their questions.
        reviewers: Name -> prompt section. Under `robust`, a prompt with `answer_cue` makes two calls: one for a free
            critique, and one for a score out of five, with the model's probability of each.
        hints: Question id -> the gold answer or solution that a reviewer sees.
        samples: Number of samples of each review.

    Source: MAPD (arXiv 2410.03663) for `paper`; G-Eval (arXiv 2303.16634) for scores by probability.
    """
    question_of = {mistake.qid: mistake.question for mistake in mistakes}
    reviews: list[Review] = []
    replies: list[Reply] = []
    for name, section in reviewers.items():
        prompt = Prompt.model_validate(section)
        own = [
            (assignment, index) for assignment in assignments if assignment.reviewer == name for index in range(samples)
        ]
        if not own:
            continue
        renderer = Renderer(prompt, [], fields=("rationale", "hint"))
        wrap = wrapper(prompt, model_sampler.folder)
        requests = [
            Request(
                wrap(
                    renderer.input(
                        question_of[assignment.qid],
                        rationale=assignment.rationale.text.strip(),
                        hint=hints.get(assignment.qid, ""),
                    )
                ),
                index,
                not prompt.chat,
            )
            for assignment, index in own
        ]
        first = model_sampler.complete(requests, decoding, prompt.stop, f"reviews of {name}")
        second: Sequence[Stored | None] = [None] * len(own)
        if protocol == "robust" and prompt.answer_cue is not None:
            cued = [
                Request(answer_request(prompt, request.prompt, written.text), 0, request.special_tokens)
                for request, written in zip(requests, first, strict=True)
            ]
            greedy = {**decoding, "temperature": 0.0, "max_new_tokens": 1}
            second = model_sampler.complete(cued, greedy, [], f"scores of {name}", SCORES)
        for (assignment, _), written, chosen in zip(own, first, second, strict=True):
            reply = _reply(assignment, written, chosen)
            replies.append(reply)
            reviews.append(review_of(assignment, reply, protocol, expected_score(reply.logprobs)))
    return sorted(reviews, key=Review.sort_key), sorted(replies, key=Reply.sort_key)


def hints_of(hint: str, mistakes: Sequence[Mistake], questions: Iterable[Question]) -> dict[str, str]:
    """Question id -> what a reviewer sees: the gold answer, the whole reference solution, or nothing.

    Args:
        questions: Source of the reference solutions; a question without a solution gives its gold answer.
    """
    match hint:
        case "answer":
            return {mistake.qid: mistake.gold for mistake in mistakes}
        case "reference":
            return {question.qid: question.rationale or question.gold for question in questions}
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
        Request(
            wrap(renderer.input(mistake.question, wrong=mistake.text.strip(), gold=mistake.gold)), 0, not prompt.chat
        )
        for mistake in mistakes
    ]
    written = model_sampler.complete(requests, spec["decoding"], prompt.stop, f"feedback of {teacher}")
    return [
        Taught.model_validate(
            {
                **_of(remark),
                "text": with_opening(request.prompt, remark.text),
                "qid": mistake.qid,
                "sampler": teacher,
            }
        )
        for mistake, request, remark in zip(mistakes, requests, written, strict=True)
    ]


def _reply(assignment: Assignment, written: Stored, chosen: Stored | None) -> Reply:
    """A reviewer's reply. If a server ignores the constraint on the choice, its text is read as free text."""
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
    """Rough length of a prompt with its worked examples, to find the longest."""
    prompt = spec["prompt"]
    return len(prompt.get("instruction") or "") + 300 * prompt["exemplars"] + spec["decoding"]["max_new_tokens"]


def _in_order(calls: Sequence[Call]) -> None:
    for call in sorted(calls, key=lambda call: -call.length):
        call.send()


def counts_of(written: Sequence[Completion]) -> dict[str, Any]:
    """Counts by sampler: completions, empty and cut-off completions, tokens."""
    found: dict[str, dict[str, int]] = {}
    for completion in written:
        of = found.setdefault(completion.sampler, {"completions": 0, "null": 0, "cut_off": 0, "completion_tokens": 0})
        of["completions"] += 1
        of["null"] += is_null(completion)
        of["cut_off"] += completion.finish_reason == "length"
        of["completion_tokens"] += completion.completion_tokens
    return dict(sorted(found.items()))
