"""Scores of reviewers: whatever a reviewer writes, nothing becomes a score that it did not give."""

import math
import re
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from distillery.peer_review.assignments import Assignment
from distillery.peer_review.records import Review
from distillery.peer_review.scores import bracketed, expected_score, parse_score, review_of
from distillery.records import Completion

PROTOCOLS = ["paper", "robust"]
RATIONALE = Completion(
    completion_id="r1", qid="q1", sampler="anna", sample_index=0, text="2 + 2 = 4", finish_reason="stop",
    prompt_tokens=0, completion_tokens=0,
)  # fmt: skip
TASK = Assignment("q1", "anna", "bert", RATIONALE)

REPLIES = {  # reply -> score of the public rule, score of the robust rule
    "Sound. [5]": (5, 5),
    "Sound. [4/5]": (4, 4),
    "Sound. [ 4 / 5 ].": (4, 4),
    "Sound. [Score: 3]": (3, 3),
    "4": (4, 4),
    "**4**": (4, 4),
    "Score: 4/5": (5, 4),  # the public rule takes the last number, which is the scale
    "My rating is 2 out of 5.": (5, 2),
    "The final score is **3**.": (3, 3),
    "First [2], then it mends itself, so [4]": (4, 4),
    "[2] for style and [4] for the sum, I think": (4, None),
    "Between [3-4]": (4, None),
    "[4.5]": (5, None),
    "[.5]": (5, None),
    ".5": (5, None),
    "[-4]": (4, None),
    "score: 4 or 5": (5, None),
    "score: 4.5": (5, None),
    "score of 1 to 5": (5, None),
    "Score: 4%": (4, None),
    "Score: 4 / 10": (None, None),
    "[4/10]": (4, None),
    "[8/10]": (None, None),
    "It is 83.": (None, None),
    "[83]": (None, None),
    "[0]": (None, None),
    "[6]": (None, None),
    "[-1/5]": (None, None),
    "[five]": (None, None),
    "[]": (None, None),
    "[] 4": (None, None),
    "He has 3 apples and 2 pears": (2, None),
    "": (None, None),
    "None": (None, None),
    "[" + "9" * 5000 + "]": (None, None),
    "[٤]": (None, None),
    "The answer [145] is right. [5]": (5, 5),
    "The answer [5] is right, as 2 + 3 = [5].": (5, 5),
}


@pytest.mark.parametrize("reply", REPLIES)
def test_a_reply_is_read_as_its_protocol_says(reply):
    assert tuple(parse_score(reply, protocol).score for protocol in PROTOCOLS) == REPLIES[reply]


FRAGMENTS = [
    "[",
    "]",
    "/",
    "/5",
    ".",
    "-",
    " ",
    "\n",
    "Score: ",
    "0",
    "1",
    "5",
    "6",
    "83",
    "out of",
    "4.5",
    "٤",
    "to",
    "%",
]
ANY = st.characters(exclude_categories=())  # lone surrogates as well
replies = st.one_of(st.none(), st.text(ANY), st.lists(st.sampled_from(FRAGMENTS)).map("".join))


@given(replies, st.sampled_from(PROTOCOLS))
def test_no_reply_gives_a_score_off_the_scale_and_no_score_has_a_reason(reply, protocol):
    parsed = parse_score(reply, protocol)
    assert parsed.score is None or parsed.score in range(1, 6)
    assert (parsed.score is None) == bool(parsed.reason)
    assert parsed.score is None or str(parsed.score) in parsed.raw


@given(
    st.integers().filter(lambda number: number not in range(1, 6)),
    st.sampled_from(["{}", "[{}]", "[{}/5]", "Score: {}"]),
)
def test_a_number_off_the_scale_is_never_clamped(number, form):
    assert parse_score(form.format(number), "robust").score is None


@given(replies)
def test_the_robust_rule_never_reads_a_digit_that_was_not_written_as_a_number_of_its_own(reply):
    parsed = parse_score(reply, "robust")
    if parsed.score is not None:
        assert str(parsed.score) in "".join(reply.split())


@given(st.text("[]0\n\r x"))
def test_brackets_are_found_as_the_public_codes_expression_finds_them(reply):
    assert [tuple(span) for span in bracketed(reply)] == [
        (match[1], match.end()) for match in re.finditer(r"\[(.*?)\]", reply)
    ]


LONG = 300_000
HOSTILE = {
    "opening brackets": "[" * LONG,
    "nested and never closed": "[4" * LONG,
    "one bracket and spaces": "[score" + " " * LONG + "x]",
    "a label and spaces": "score" + " " * LONG + "x",
    "spaces": "4" + " " * LONG + "x",
    "stars before a label": "*" * LONG + "scor",
    "labels": "score " * LONG,
    "labels with half a scale": "score: 4 / " * LONG,
    "a score and spaces": "score: 4" + " " * LONG + "x",
    "quotes behind a label": "score" + "*" * LONG + " " * LONG + "x",
    "two scores and a long end": "[4] [5]" + "." * LONG + "x",
    "digits": "7" * LONG,
    "slashes": "[" + "/" * LONG + "]",
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("reply", HOSTILE.values(), ids=HOSTILE)
def test_no_long_reply_takes_work_that_grows_with_its_square(reply, protocol):
    # Work in proportion takes a tenth of a second here; its square takes minutes. The guard counts this process's own
    # CPU time, so that a busy machine changes nothing.
    def give_up(*_):
        raise AssertionError("reading this reply is more than linear work")

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, 20)
    try:
        assert parse_score(reply, protocol).score is None or reply.startswith(("4", "score", "[4"))
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def a_reply(text, finish_reason="stop", answer_text=None):
    return RATIONALE.model_copy(
        update={"completion_id": "v1", "sampler": "bert", "text": text, "finish_reason": finish_reason,
                "answer_text": answer_text}
    )  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (a_reply(""), "the reviewer wrote nothing"),
        (a_reply("[5]", "failed"), "the request failed"),
        (a_reply("[5]", "refused"), "the reviewer refused"),
    ],
)
def test_a_reply_that_did_not_come_is_no_score(reply, reason, protocol):
    review = review_of(TASK, reply, protocol)
    assert (review.score, review.reason) == (None, reason)


def test_a_reply_cut_off_in_the_middle_is_no_score_unless_a_second_call_gave_it():
    cut = a_reply("First [2], since", "length")
    assert review_of(TASK, cut, "paper").score == 2
    assert review_of(TASK, cut, "robust").reason == "cut off at the token limit"
    chosen = review_of(TASK, a_reply("First [2], since", "length", answer_text="4"), "robust", expected=4.2)
    assert (chosen.score, chosen.expected, chosen.path) == (4, 4.2, "whole reply")


@pytest.mark.parametrize("score", [0, 6, 83])
def test_a_record_refuses_a_score_off_the_scale(score):
    with pytest.raises(ValidationError):
        Review(
            qid="q", author="a", reviewer="b", rationale_id="r", review_id=None, protocol="paper", path="", score=score
        )


@given(st.dictionaries(st.sampled_from(["1", "2", "3", " 4", "5", "[", "score"]), st.floats(-200, 0)))
def test_an_expected_score_lies_on_the_scale(log_probabilities):
    mean = expected_score(log_probabilities)
    known = {token for token in log_probabilities if token.strip() in "12345"}
    assert (mean is None) == (not known) or all(math.exp(log_probabilities[token]) == 0 for token in known)
    assert mean is None or 1 <= mean <= 5


def test_an_expected_score_is_the_mean_over_the_five():
    assert expected_score({"4": math.log(0.5), "5": math.log(0.5)}) == pytest.approx(4.5)
    assert expected_score({"4": -math.inf}) is None
    assert expected_score({}) is None
