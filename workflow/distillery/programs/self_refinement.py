"""Self-refinement: programs that fail visibly go back to their author with the error, for a few rounds.

What starts a round is what a user of the program would see: text that does not parse, an exception, a timeout, a value
that is no number. The gold answer plays no part. The first version that runs is kept.

Source: PaD specification, section 3.3; number of rounds and wording are ours, the paper's are not known.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from distillery.config.prompt import Prompt
from distillery.programs.extract import extract
from distillery.programs.feedback import needs_refinement
from distillery.programs.run import run_programs
from distillery.records import Completion, Draft, Question
from distillery.sampling.requests import Request
from distillery.sampling.sampler import CompletionSampler, wrapper
from distillery.tasks.prompts import REPAIR_FIELDS, Renderer

NO_PROGRAM = "SyntaxError: there is no program `solution()`"
LONGEST_TEXT = 2000
"""Characters of a completion without a program that are shown again: a runaway text must not fill the context."""


def refine(
    questions: Sequence[Question],
    completions: Sequence[Completion],
    exemplars: Sequence[Mapping[str, Any]],
    spec: Mapping[str, Any],
    model_sampler: CompletionSampler,
) -> tuple[list[Completion], list[Draft], dict[str, Any]]:
    """Ask for repairs, up to `spec["rounds"]` times.

    Args:
        completions: One of each question: the programs of round 0.
        spec: `prompt` (asks for the repair), `decoding`, `rounds`, and `answer`, the task's answer type.

    Returns:
        The last version of each completion, every version with what was seen of it, and counts by round.
    """
    prompt = Prompt.model_validate(spec["prompt"])
    renderer = Renderer(prompt, exemplars, REPAIR_FIELDS)
    wrap = wrapper(prompt, model_sampler.folder)
    text_of = {question.qid: question.question for question in questions}
    current = {completion.qid: completion for completion in completions}
    unsolved = sorted(current)
    drafts: list[Draft] = []
    counts: list[dict[str, int]] = []
    for number in range(spec["rounds"] + 1):
        feedbacks = _feedback([current[qid] for qid in unsolved], spec["answer"])
        for qid, (_, feedback) in zip(unsolved, feedbacks, strict=True):
            version = current[qid]
            drafts.append(
                Draft(qid=qid, round=number, completion_id=version.completion_id, text=version.text, feedback=feedback)
            )
        failed = [
            (qid, shown, feedback) for qid, (shown, feedback) in zip(unsolved, feedbacks, strict=True) if feedback
        ]
        counts.append({"asked": len(unsolved), "failed": len(failed)})
        if not failed or number == spec["rounds"]:
            break
        requests = [
            Request(wrap(renderer.input(text_of[qid], program=shown, feedback=feedback)), 0, not prompt.chat)
            for qid, shown, feedback in failed
        ]
        answers = model_sampler.complete(requests, spec["decoding"], prompt.stop, f"repairs, round {number + 1}")
        for (qid, _, _), answer in zip(failed, answers, strict=True):
            current[qid] = current[qid].model_copy(
                update={
                    "completion_id": answer.key,
                    "text": answer.text,
                    "finish_reason": answer.finish_reason,
                    "prompt_tokens": current[qid].prompt_tokens + answer.prompt_tokens,
                    "completion_tokens": current[qid].completion_tokens + answer.completion_tokens,
                }
            )
        unsolved = [qid for qid, _, _ in failed]
    return [current[qid] for qid in sorted(current)], drafts, {"rounds": counts}


def most_repairs(spec: Mapping[str, Any]) -> int:
    """The most that `refine` asks for one question: it fails in every round."""
    return spec["rounds"]


def _feedback(completions: Sequence[Completion], answer: str) -> list[tuple[str, str | None]]:
    """Of each completion, the program as it is shown again, and what went wrong with it; None if nothing did."""
    found = [extract(completion.text).program for completion in completions]
    runs, _ = run_programs([program for program in found if program is not None])
    waiting = iter(runs)
    feedbacks: list[tuple[str, str | None]] = []
    for completion, program in zip(completions, found, strict=True):
        if program is None:
            feedbacks.append((completion.text.strip()[:LONGEST_TEXT], NO_PROGRAM))
        else:
            feedbacks.append((program, needs_refinement(next(waiting), answer)))
    return feedbacks
