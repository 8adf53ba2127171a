"""Scores: the number that a reviewer gave, or the reason why there is none.

    paper    the last integer of the last bracketed span, else of the whole reply; outside 1 to 5 it does not count
    robust   only a whole number from 1 to 5 that the reply states as its score

Neither clamps, and neither turns a fault into a number: the public code reads 0 where it finds nothing and 83 where the
reviewer quotes the gold answer, and drops both later.

>>> parse_score("The sum is right, so [4/5].", "robust")
Parsed(score=4, raw='4', path='last bracket', reason=None)
>>> parse_score("It should be 83.", "paper")
Parsed(score=None, raw='83', path='last number of the reply', reason='83 is outside 1 to 5')
>>> parse_score("It should be 83.", "robust").reason
'no score is stated'
"""

import logging
import math
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from distillery.peer_review.assignments import Assignment
from distillery.peer_review.records import HIGHEST, LOWEST, Review, is_null
from distillery.records import Completion
from distillery.tasks.reasoning import split_reasoning

LOG = logging.getLogger(__name__)

Protocol = Literal["paper", "robust"]


class Parsed(NamedTuple):
    """A score, or none with a reason; as in `Review`."""

    score: int | None
    raw: str | None
    path: str
    reason: str | None


def parse_score(reply: str | None, protocol: Protocol) -> Parsed:
    """Read the score of a reviewer's reply. No reply raises: it is stored, and would end the job on every run.

    Source: MAPD, public code (`check_score` of collect_teacher_res.py) for `paper`; `robust` is ours.
    """
    if reply is None or not reply.strip():
        return Parsed(None, None, "empty reply", "the reviewer wrote nothing")
    try:
        written = split_reasoning(reply)
        if not written.closed:
            return Parsed(None, None, "thinking", "the reply ends inside its thinking")
        reply = written.answer
        return _paper(reply) if protocol == "paper" else _robust(reply)
    except Exception:
        LOG.warning("a reviewer's reply of %d characters cannot be read", len(reply), exc_info=True)
        return Parsed(None, None, "unreadable", "reading the reply raised, which is a fault of this program")


def review_of(assignment: Assignment, reply: Completion, protocol: Protocol, expected: float | None = None) -> Review:
    """The review record of a reviewer's reply.

    Args:
        assignment: Whose rationale was reviewed, and by whom.
        reply: What the reviewer wrote; `answer_text`, the second call of a two-pass review, is read if there is one.
        protocol: How the score is read. `robust` does not trust a reply that was cut off in the middle.
        expected: See `expected_score`.
    """
    parsed = parse_score(reply.text if reply.answer_text is None else reply.answer_text, protocol)
    if is_null(reply) and reply.answer_text is None:
        why = {"refused": "the reviewer refused", "failed": "the request failed"}
        parsed = Parsed(None, None, "no reply", why.get(reply.finish_reason, "the reviewer wrote nothing"))
    elif protocol == "robust" and reply.finish_reason == "length" and reply.answer_text is None:
        parsed = Parsed(None, parsed.raw, parsed.path, "cut off at the token limit")
    return Review(
        qid=assignment.qid,
        author=assignment.author,
        reviewer=assignment.reviewer,
        rationale_id=assignment.rationale.completion_id,
        review_id=reply.completion_id,
        sample_index=reply.sample_index,
        protocol=protocol,
        score=parsed.score,
        expected=expected if parsed.score is not None else None,
        raw=parsed.raw,
        path=parsed.path,
        reason=parsed.reason,
    )


def expected_score(log_probabilities: Mapping[str, float]) -> float | None:
    """Mean of the scale under a reviewer's log-probabilities of the five scores; None if it gives none of them.

    Other tokens are left out, and the probabilities of the five are scaled to a sum of one.

    >>> round(expected_score({"4": math.log(0.6), "5": math.log(0.2), "[": math.log(0.2)}), 2)
    4.25

    Source: G-Eval (arXiv 2303.16634).
    """
    given: dict[int, float] = {}
    for token, value in log_probabilities.items():
        if re.fullmatch(f"[{LOWEST}-{HIGHEST}]", token.strip()) and value > -math.inf:
            score = int(token)
            given[score] = given.get(score, 0.0) + math.exp(value)  # "4" and " 4" are two tokens
    total = math.fsum(given.values())
    if not total or not math.isfinite(total):
        return None
    mean = math.fsum(score * share for score, share in given.items()) / total
    return min(max(mean, float(LOWEST)), float(HIGHEST))  # rounding of the last digit only


def on_scale(number: int, raw: str, path: str) -> Parsed:
    """A number that was read as a score: it counts if it is on the scale."""
    if LOWEST <= number <= HIGHEST:
        return Parsed(number, raw, path, None)
    return Parsed(None, raw, path, f"{raw} is outside {LOWEST} to {HIGHEST}")


_DIGITS = re.compile(r"[0-9]+")


def _paper(reply: str) -> Parsed:
    spans = bracketed(reply)
    if not spans:
        return _integer(_DIGITS.findall(reply), "last number of the reply")
    last = spans[-1].text
    if "/" in last:
        return _integer([last.split("/")[0].strip()], "last bracket, before the slash")
    return _integer(_DIGITS.findall(last), "last number of the last bracket")


class Span(NamedTuple):
    """A text in square brackets, and the place behind the closing one."""

    text: str
    end: int


def bracketed(reply: str) -> list[Span]:
    r"""Texts in square brackets, from an opening bracket to the next closing one in the same line.

    The scan never returns to a place, so its work grows with the length of the reply. A regular expression
    (`\[(.*?)\]`) reads a line again for each opening bracket that is never closed.

    >>> [span.text for span in bracketed("[4] or [[5], [6")]
    ['4', '[5']
    """
    spans = []
    start = 0
    for line in reply.split("\n"):
        place = 0
        while (opening := line.find("[", place)) >= 0 and (closing := line.find("]", opening)) >= 0:
            place = closing + 1
            spans.append(Span(line[opening + 1 : closing], start + place))
        start += len(line) + 1
    return spans


def _integer(found: list[str], path: str) -> Parsed:
    raw = found[-1] if found else ""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", raw):
        return Parsed(None, raw or None, path, "no whole number there")
    return on_scale(int(raw), raw, path)


# The form of a score; a half point, a range, a percentage or another scale must not match, also not in part.
# Repeats are possessive (`*+`): where several could share a run of spaces, the work would grow with its square.
_SCORE = r"([+-]?[0-9]++)(?:\s*+(?:/|out of)\s*+([0-9]++))?+"
_MORE = r"(?!\s*+(?:[.,/%–-]|to\b|or\b|and\b)\s*+[0-9]|\s*+%)"
_LABEL = r"(?:score|rating|grade)"
_LABELLED = rf"(?:{_LABEL}\s*+(?:[:=]\s*+)?)?"
_IN_BRACKETS = re.compile(rf"\s*+{_LABELLED}{_SCORE}\s*+", re.I)
_ALONE = re.compile(rf"[\s*_(\"']*+{_LABELLED}{_SCORE}[\s*_)\"'.]*+", re.I)
_STATED = re.compile(rf"\b{_LABEL}\b[\"'*_]*+\s*+(?::|=|is|of)\s*+[\"'*_]*+{_SCORE}{_MORE}", re.I)
_CLOSING = re.compile(r"[\s.!*_)\"']*+")


def _robust(reply: str) -> Parsed:
    alone = _ALONE.fullmatch(reply.strip())
    if alone:
        return _whole(alone, "whole reply")
    spans = bracketed(reply)
    if spans:
        return _last_bracket(reply, spans)
    stated = list(_STATED.finditer(reply))
    if not stated:
        return Parsed(None, None, "whole reply", "no score is stated")
    if len({match[1] for match in stated}) > 1:
        return Parsed(None, ", ".join(match[1] for match in stated), "stated scores", "several scores differ")
    return _whole(stated[-1], "stated score")


def _last_bracket(reply: str, spans: list[Span]) -> Parsed:
    last = _IN_BRACKETS.fullmatch(spans[-1].text)
    if last is None:
        return Parsed(None, spans[-1].text, "last bracket", "it holds something else than one whole number")
    given = {found[1] for span in spans if (found := _IN_BRACKETS.fullmatch(span.text))}
    # At the very end of the reply the last bracket is the verdict.
    if len(given) > 1 and not _CLOSING.fullmatch(reply, spans[-1].end):
        return Parsed(None, ", ".join(sorted(given)), "last bracket", "several scores differ")
    return _whole(last, "last bracket")


def _whole(match: re.Match[str], path: str) -> Parsed:
    raw, scale = match[1], match[2]
    if len(raw) > 18:
        return Parsed(None, raw[:18], path, "no whole number there")
    if scale is not None and scale != str(HIGHEST):
        return Parsed(None, f"{raw}/{scale}", path, f"a score out of {scale[:18]}, not {HIGHEST}")
    return on_scale(int(raw), raw, path)
