"""Choices and scored texts in the store: what is written, what is read back, and what is refused."""

import math

import pytest

from distillery.errors import UserError
from distillery.sampling.logprobs import (
    Choice,
    Scored,
    decode_choice,
    decode_scored,
    encode_choice,
    encode_scored,
    single_tokens,
    tail_of,
)


@pytest.mark.parametrize(
    ("logprobs", "choice", "text"),
    [
        ({"1": -0.12345678, "2": -3.0}, None, '{"choice": "1", "logprobs": {"1": -0.123457, "2": -3.0}}'),
        ({"1": -2.0, "2": -2.0, "3": -math.inf}, None, '{"choice": "1", "logprobs": {"1": -2.0, "2": -2.0}}'),
        ({"1": -2.0}, "5", '{"choice": "5", "logprobs": {"1": -2.0}}'),
        ({}, "5", '{"choice": "5", "logprobs": {}}'),
    ],
)
def test_a_choice_is_stored_with_what_is_known_of_each_text(logprobs, choice, text):
    assert encode_choice(logprobs, choice) == text
    found = decode_choice(text, ("1", "2", "5"))
    assert found == Choice(choice or "1", {name: round(p, 6) for name, p in logprobs.items() if math.isfinite(p)})


def test_a_choice_without_any_log_probability_is_none():
    with pytest.raises(ValueError, match="not one of the choices has a log-probability"):
        encode_choice({"1": math.nan})


@pytest.mark.parametrize(
    "text",
    [
        "5", "[]", "no", '{"choice": "1"}', '{"logprobs": {}}', '{"choice": "9", "logprobs": {}}',
        '{"choice": "1", "logprobs": {"9": -1}}', '{"choice": "1", "logprobs": {"1": "x"}}',
        '{"choice": "1", "logprobs": []}', '{"choice": "1", "logprobs": {"1": null}}',
    ],
)  # fmt: skip
def test_what_is_no_choice_of_these_texts_is_read_as_none(text):
    assert decode_choice(text, ("1", "2")) is None


def test_a_choice_needs_texts_of_one_token():
    assert single_tokens({"a": [7], "b": (8,)}) == {"a": 7, "b": 8}
    with pytest.raises(UserError) as caught:
        single_tokens({"a": [7], "bc": [8, 9], "d": [], "e": [1]})
    assert caught.value.problem == ("the model's tokenizer cuts bc, d into several tokens; a choice needs one for each")
    assert caught.value.key == "review.protocol"


def test_a_scored_text_is_read_back_with_five_digits_and_its_own_letters():
    stored = encode_scored("a\té", -0.1234567, None)
    assert (stored, decode_scored(stored)) == ('["a\\té", -0.12346, null]', Scored("a\té", -0.12346, None))


@pytest.mark.parametrize(
    ("written", "text", "tail"),
    [("a;b\n", "a", "b\n"), ("a\n b", "a", " b"), ("a", "a", None), ("a b", "a", None), ("xa;b", "a", None)],
)
def test_the_tail_is_what_follows_the_stop_text(written, text, tail):
    assert tail_of(written, text, ("\n", ";")) == tail
