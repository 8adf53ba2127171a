r"""Answers: is the final answer of a completion the gold answer?

A grader says where to look, what counts as an answer there, which one is taken, and how it is compared. Each answer
type has two, reported side by side: `paper` is the loose rule of the papers' evaluators, so that published numbers can
be compared; `robust` wants the delimiter, a complete text and an answer that stands alone.

    completion                       region searched               candidate taken
    has an answer call of its own    that call's text              `choose`
    one text, delimiter in it        after its first occurrence    `choose`
    one text, delimiter missing      whole text                    the last, or none (`without_delimiter`)
    one text, prompt has none        whole text                    `choose`

>>> paper, robust = DEFAULT_GRADERS["number"]["paper"], DEFAULT_GRADERS["number"]["robust"]
>>> grade("He has 3 + 2 = 5 eggs. --> 5.0", None, "stop", "5", paper, "-->")[:2]
(<Outcome.WRONG: 'wrong'>, '5.0')
>>> grade("He has 3 + 2 = 5 eggs. --> 5.0", None, "stop", "5", robust, "-->")
Graded(outcome=<Outcome.RIGHT: 'right'>, answer='5.0', reason='first number after the delimiter')
>>> grade("He has 3 + 2 = 5 eggs.", None, "stop", "5", robust, "-->").reason
'the delimiter is missing'

What it does not do: algebra ("1/2" against "0.5"), units, or answers in words ("five").
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from distillery.config.task import Grader, Task
from distillery.records import Outcome

TOLERANCE = 1e-6
"""Largest absolute difference of two numbers that count as equal (both papers' evaluators)."""


class Graded(NamedTuple):
    """The judgement on one completion."""

    outcome: Outcome
    answer: str | None
    """The answer that was found, as the grader reads it; None if there is none."""
    reason: str
    """How the judgement was reached, in words."""


def _pair(kind: str, paper: dict, robust: dict) -> dict[str, Grader]:
    strict = {"standalone": True, "without_delimiter": "unparsable", "complete": True}
    return {
        "paper": Grader.model_validate({"candidates": kind, **paper}),
        "robust": Grader.model_validate({"candidates": kind, **strict, **robust}),
    }


DEFAULT_GRADERS: dict[str, dict[str, Grader]] = {
    # Strings, as MultiArith, GSM8K and ASDiv; a task file for SingleEq, AddSub or SVAMP sets `compare: number`.
    "number": _pair("number", {"compare": "string"}, {"compare": "number"}),
    "choice": _pair("choice", {}, {}),
    "yes-no": _pair("yes-no", {"compare": "casefold"}, {"compare": "casefold"}),
    # Fine-tune-CoT minds the case; for Mentor-KD's rule a task file sets `compare: casefold`.
    "letters": _pair("letters", {}, {"choose": "last", "compare": "casefold"}),
    "text": _pair("text", {}, {"compare": "casefold"}),
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
    rule = _rule(grader)
    last = grader.choose == "last"
    if answer_text is not None:
        region, where = answer_text, "in the answer call"
    elif not delimiter or grader.delimiter == "none":
        region, where = text, "in the whole text"
    else:
        _, found, region = text.partition(delimiter)
        where = "after the delimiter"
        if not found:
            if grader.without_delimiter == "unparsable":
                return _CUT if finish_reason == "length" else _NO_DELIMITER
            region, where, last = text, "in the whole text, as the delimiter is missing", True
    answer = rule.find(region, last)
    if answer is None:
        outcome = Outcome.TRUNCATED if finish_reason == "length" else Outcome.UNPARSABLE
        return Graded(outcome, None, f"no {rule.noun} {where}")
    outcome = Outcome.RIGHT if rule.equal(answer, _gold_answer(gold, grader)) else Outcome.WRONG
    return Graded(outcome, answer, f"{'last' if last else 'first'} {rule.noun} {where}")


_NO_ANSWER = {
    "refused": Graded(Outcome.REFUSED, None, "the model refused"),
    "failed": Graded(Outcome.FAILED, None, "the request failed"),
}
_CUT = Graded(Outcome.TRUNCATED, None, "cut off at the token limit")
_NO_DELIMITER = Graded(Outcome.UNPARSABLE, None, "the delimiter is missing")


def gold_answer(gold: str, grader: Grader) -> str:
    """The gold answer in the form in which it is compared.

    Raises:
        ValueError: It cannot be: no number where numbers are compared, or nothing at all.
    """
    if grader.gold == "first-character":
        gold = gold.strip()[:1]
    elif grader.gold == "number-in-text":
        number = _last(_numbers_standalone(gold))
        if number is None:
            raise ValueError("no number in it")
        gold = number
    if grader.candidates == "number":
        gold = gold.replace(",", "").strip()
    if not gold:
        raise ValueError("it is empty")
    if grader.compare == "number":
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
    candidates = _candidates(grader)

    def find(region: str, last: bool) -> str | None:
        found = candidates(region)
        return _last(found) if last else next(found, None)

    noun = {"choice": f"choice {grader.letters}", "yes-no": "yes or no", "letters": "word"}
    return _Rule(noun.get(grader.candidates, grader.candidates), find, _EQUAL[grader.compare])


_EQUAL: dict[str, Callable[[str, str], bool]] = {
    "string": lambda answer, gold: answer == gold,
    "casefold": lambda answer, gold: answer.casefold() == gold.casefold(),
    "number": lambda answer, gold: abs(float(answer) - float(gold)) <= TOLERANCE,
}


def _last(found: Iterator[str]) -> str | None:
    answer = None
    for answer in found:  # noqa: B007
        pass
    return answer


Candidates = Callable[[str], Iterator[str]]

_ANY_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
# A minus after a word, a number or a bracket subtracts; commas only part thousands; "v1" and "1.2.3" are no numbers.
_NUMBER = re.compile(
    r"(?:(?<![\w)\]])[-\u2212]\$?)?(?<![\w.])(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
)
_NUMBER_FORM = str.maketrans({"\u2212": "-", ",": None, "$": None})
_YES_NO = re.compile(r"(?<![\w'-])(?:yes|no)(?![\w'-])")
_YES_NO_BLANKS = str.maketrans(dict.fromkeys("\"'\n.:,", " "))
_LETTERS_REMOVED = re.compile(r"[\"'.\s]+")
_WORD = re.compile(r"[^\W\d_]+")


def _numbers_standalone(region: str) -> Iterator[str]:
    return (found[0].translate(_NUMBER_FORM) for found in _NUMBER.finditer(region))


def _numbers_anywhere(region: str) -> Iterator[str]:
    return (found[0] for found in _ANY_NUMBER.finditer(region.replace(",", "")))


def _choices(grader: Grader) -> Candidates:
    pattern = f"[{grader.letters}]"
    if grader.standalone:
        # "A ball" and "I think" are words of a sentence, "A is right" is a choice.
        article = r"(?!(?<=[AI])\s+(?!(?:is|was)\b)[a-z])"
        pattern = rf"(?<![\w'])[{grader.letters}](?![\w']){article}"
    compiled = re.compile(pattern)
    return lambda region: (found[0] for found in compiled.finditer(region))


def _yes_no_standalone(region: str) -> Iterator[str]:
    return (found[0] for found in _YES_NO.finditer(region.lower()))


def _yes_no_tokens(region: str) -> Iterator[str]:
    return (token for token in region.lower().translate(_YES_NO_BLANKS).split() if token in {"yes", "no"})


def _words(region: str) -> Iterator[str]:
    return (found[0] for found in _WORD.finditer(region))


def _joined(region: str) -> Iterator[str]:
    word = _LETTERS_REMOVED.sub("", region)
    return iter((word,) if word else ())


def _first_line(region: str) -> Iterator[str]:
    line = " ".join(region.strip().partition("\n")[0].split()).strip("\"'").rstrip(".")
    return iter((line,) if line else ())


def _whole(region: str) -> Iterator[str]:
    text = region.strip()
    return iter((text,) if text else ())


def _candidates(grader: Grader) -> Candidates:
    if grader.candidates == "choice":
        return _choices(grader)
    loose, standalone = {
        "number": (_numbers_anywhere, _numbers_standalone),
        "yes-no": (_yes_no_tokens, _yes_no_standalone),
        "letters": (_joined, _words),
        "text": (_whole, _first_line),
    }[grader.candidates]
    return standalone if grader.standalone else loose
