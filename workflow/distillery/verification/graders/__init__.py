r"""Answers: is the final answer of a completion the gold answer?

A grader says where to look, what counts as an answer there, which one is taken, and how it is compared. Each answer
type has two, reported side by side: `paper` is the loose rule of the papers' evaluators, so that published numbers can
be compared; `robust` wants the delimiter, a complete text and an answer that stands alone.

    completion                       region searched               candidate taken
    has an answer call of its own    that call's text              `choose`
    one text, delimiter in it        after its first occurrence    `choose`
    one text, delimiter missing      whole text                    the last, or none (`without_delimiter`)
    one text, prompt has none        whole text                    `choose`

Thinking between `<think>` and `</think>` is never searched; a text that ends inside it has no answer
(`distillery.tasks.reasoning`).

>>> paper, robust = DEFAULT_GRADERS["number"]["paper"], DEFAULT_GRADERS["number"]["robust"]
>>> grade("He has 3 + 2 = 5 eggs. --> 5.0", None, "stop", "5", paper, "-->")[:2]
(<Outcome.WRONG: 'wrong'>, '5.0')
>>> grade("He has 3 + 2 = 5 eggs. --> 5.0", None, "stop", "5", robust, "-->")
Graded(outcome=<Outcome.RIGHT: 'right'>, answer='5.0', reason='first number after the delimiter')
>>> grade("He has 3 + 2 = 5 eggs.", None, "stop", "5", robust, "-->").reason
'the delimiter is missing'

What it does not do: algebra ("1/2" against "0.5"), units, or answers in words ("five").
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from distillery.config.task import Grader, Task
from distillery.records import Outcome
from distillery.tasks.reasoning import split_reasoning
from distillery.verification.graders import choice, letters, number, text, yes_no
from distillery.verification.graders.comparisons import COMPARISONS
from distillery.verification.graders.kind import STRICT, GraderKind, last

GRADERS: dict[str, GraderKind] = {
    "number": number.KIND,
    "choice": choice.KIND,
    "yes-no": yes_no.KIND,
    "letters": letters.KIND,
    "text": text.KIND,
}
"""Kinds of answers by the name that task files use. Each is a module with a `KIND`."""


class Graded(NamedTuple):
    """The judgement on one completion."""

    outcome: Outcome
    answer: str | None
    """The answer that was found, as the grader reads it; None if there is none."""
    reason: str
    """How the judgement was reached, in words."""


DEFAULT_GRADERS: dict[str, dict[str, Grader]] = {
    name: {
        "paper": Grader.model_validate({"candidates": name, **kind.paper}),
        "robust": Grader.model_validate({"candidates": name, **STRICT, **kind.robust}),
    }
    for name, kind in GRADERS.items()
}
"""Answer type -> grader name -> grader. Source: Fine-tune-CoT's evaluator, Mentor-KD's evaluator."""


def graders_of(task: Task) -> dict[str, Grader]:
    """The graders of a task: the defaults of its answer type, replaced or joined by those of its file."""
    return {**DEFAULT_GRADERS[task.answer], **task.graders}


def grade(
    text: str,
    answer_text: str | None,
    finish_reason: str,
    gold: str,
    grader: Grader,
    delimiter: str | None,
) -> Graded:
    """Judge one completion. Pure, and fast enough (over 50,000 a second) to regrade everything at any time.

    Args:
        text: All that the model wrote (for a two-call prompt: in the first call).
        answer_text: What the second call wrote; then it alone is searched, and the delimiter plays no part.
        finish_reason: `stop`, `length`, `refused` or `failed`.
        gold: The gold answer as the task gives it.
        grader: The rule; see the table at the head of this module.
        delimiter: What the prompt puts before the final answer, such as `-->`; None if it has none.

    Raises:
        ValueError: `gold` is no answer under this grader (`gold_answer`): a fault of the data, not of the model.

    Source: Fine-tune-CoT (arXiv 2212.10071) and Mentor-KD (arXiv 2410.09037), released evaluators; outcomes are ours.
    """
    if finish_reason in _NO_ANSWER:
        return _NO_ANSWER[finish_reason]
    if grader.complete and finish_reason == "length" and answer_text is None:
        return _CUT
    written = split_reasoning(text if answer_text is None else answer_text)
    if not written.closed:
        return _CUT_THINKING if finish_reason == "length" else _NO_END
    rule = _rule(grader)
    take_last = grader.choose == "last"
    if answer_text is not None:
        region, where = written.answer, "in the answer call"
    elif not delimiter or grader.delimiter == "none":
        region, where = written.answer, "in the whole text"
    else:
        _, found, region = written.answer.partition(delimiter)
        where = "after the delimiter"
        if not found:
            if grader.without_delimiter == "unparsable":
                return _CUT if finish_reason == "length" else _NO_DELIMITER
            region, where, take_last = written.answer, "in the whole text, as the delimiter is missing", True
    answer = rule.find(region, take_last)
    if answer is None:
        outcome = Outcome.TRUNCATED if finish_reason == "length" else Outcome.UNPARSABLE
        return Graded(outcome, None, f"no {rule.noun} {where}")
    outcome = Outcome.RIGHT if rule.equal(answer, _gold_answer(gold, grader)) else Outcome.WRONG
    return Graded(outcome, answer, f"{'last' if take_last else 'first'} {rule.noun} {where}")


_NO_ANSWER = {
    "refused": Graded(Outcome.REFUSED, None, "the model refused"),
    "failed": Graded(Outcome.FAILED, None, "the request failed"),
}
_CUT = Graded(Outcome.TRUNCATED, None, "cut off at the token limit")
_CUT_THINKING = Graded(Outcome.TRUNCATED, None, "cut off inside the thinking")
_NO_END = Graded(Outcome.UNPARSABLE, None, "the thinking has no end")
_NO_DELIMITER = Graded(Outcome.UNPARSABLE, None, "the delimiter is missing")


def gold_answer(gold: str, grader: Grader) -> str:
    """The gold answer in the form in which it is compared.

    Raises:
        ValueError: It cannot be: no number where numbers are compared, or nothing at all.
    """
    if grader.gold == "first-character":
        gold = gold.strip()[:1]
    elif grader.gold == "number-in-text":
        found = last(number.standalone_numbers(gold))
        if found is None:
            raise ValueError("no number in it")
        gold = found
    gold = GRADERS[grader.candidates].gold(gold)
    if not gold:
        raise ValueError("it is empty")
    if COMPARISONS[grader.compare].numeric:
        float(gold)
    return gold


_gold_answer = lru_cache(maxsize=65_536)(gold_answer)


class _Rule(NamedTuple):
    noun: str
    find: Callable[[str, bool], str | None]
    equal: Callable[[str, str], bool]


@lru_cache(maxsize=1024)
def _rule(grader: Grader) -> _Rule:
    """What a grader means, as functions; patterns are compiled once per grader."""
    kind = GRADERS[grader.candidates]
    candidates = kind.candidates(grader)

    def find(region: str, take_last: bool) -> str | None:
        found = candidates(region)
        return last(found) if take_last else next(found, None)

    return _Rule(kind.noun(grader), find, COMPARISONS[grader.compare].equal)
