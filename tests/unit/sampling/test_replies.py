"""What an endpoint sent back, as one completion: each shape of an answer, written out here."""

import pytest

from distillery.sampling.backends.replies import clean, join_reasoning, read_reply

USAGE = {"prompt_tokens": 7, "completion_tokens": 3}


def chat(reason: object = "stop", usage: object = USAGE, **message) -> dict:
    return {"choices": [{"message": message, "finish_reason": reason}], "usage": usage}


def plain(reason: object = "stop", text: object = "So 4.", usage: object = USAGE) -> dict:
    return {"choices": [{"text": text, "finish_reason": reason}], "usage": usage}


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        *((said, "stop") for said in ("stop", "eos", "end_turn", None)),
        *((said, "length") for said in ("length", "max_tokens")),
        *((said, "refused") for said in ("content_filter", "refusal", "safety")),
        *((said, "failed") for said in ("tool_calls", "error", "abort", "STOP", 1, ["stop"])),
    ],
)
def test_the_reason_of_a_server_is_kept_as_one_of_four(reason, kept):
    for body, is_chat in [(plain(reason), False), (chat(reason, content="So 4."), True)]:
        reply = read_reply(body, "2 + 2?", chat=is_chat)
        assert reply == ("So 4.", kept, 7, 3, {})


@pytest.mark.parametrize(
    ("message", "text", "reason"),
    [
        ({"content": ""}, "", "stop"),
        ({"content": None}, "", "failed"),
        ({}, "", "failed"),
        ({"content": 5}, "", "failed"),
        ({"content": []}, "", "failed"),
        ({"content": "a", "refusal": "I cannot."}, "I cannot.", "refused"),
        ({"content": "a", "refusal": ""}, "a", "stop"),
        ({"content": "a", "refusal": True}, "a", "stop"),
        ({"content": "a", "tool_calls": [{}]}, "a", "failed"),
        ({"content": "a", "function_call": {"name": "f"}}, "a", "failed"),
        ({"content": "a", "tool_calls": []}, "a", "stop"),
        ({"content": "a", "reasoning_content": " b\n"}, "<think>\nb\n</think>\n\na", "stop"),
        ({"content": "a", "reasoning": "b"}, "<think>\nb\n</think>\n\na", "stop"),
        ({"content": "a", "reasoning_content": "b", "reasoning": "c"}, "<think>\nb\n</think>\n\na", "stop"),
        ({"content": "a", "reasoning": [{"type": "thinking", "text": "b"}]}, "<think>\nb\n</think>\n\na", "stop"),
        ({"content": "a", "reasoning": " "}, "a", "stop"),
        ({"content": None, "reasoning": "b"}, "<think>\nb\n</think>\n\n", "stop"),
        ({"content": ["a", {"type": "text", "text": "b"}, {"content": "c"}, 5, {"text": 5, "thinking": "d"}]},
         "abcd", "stop"),
        ({"content": [{"type": "thinking", "thinking": "b"}, {"type": "text", "text": "a"}]},
         "<think>\nb\n</think>\n\na", "stop"),
        ({"content": [{"type": "reasoning", "content": "b"}, {"type": "reasoning_text", "text": "c"}]},
         "<think>\nbc\n</think>\n\n", "stop"),
    ],
)  # fmt: skip
def test_a_message_is_its_text_with_its_reasoning_before_it(message, text, reason):
    assert read_reply(chat(**message), "?", chat=True)[:2] == (text, reason)


def test_an_answer_that_is_cut_off_before_its_text_is_kept_as_cut_off():
    assert read_reply(chat("length", content=None), "?", chat=True)[:2] == ("", "length")


@pytest.mark.parametrize(
    "body",
    [None, [], "text", {}, {"choices": []}, {"choices": "abc"}, {"choices": {}}, {"choices": ["a"]}, {"choices": None}],
)
def test_what_has_no_choice_is_a_failure_with_estimated_costs(body):
    for is_chat in (False, True):
        assert read_reply(body, "12345", chat=is_chat) == ("", "failed", 2, 0, {})


@pytest.mark.parametrize(
    ("body", "is_chat"),
    [(plain(text=None), False), (plain(text=5), False), ({"choices": [{"message": "a"}], "usage": USAGE}, True)],
)
def test_a_choice_without_its_text_is_a_failure_with_the_costs_that_the_server_counts(body, is_chat):
    assert read_reply(body, "?", chat=is_chat) == ("", "failed", 7, 3, {})


@pytest.mark.parametrize(
    ("said", "tokens"),
    [(0, 0), (3, 3), (3.7, 3), (10_000_000, 10_000_000), (10_000_001, 2), (-1, 2), (True, 2), (None, 2), ("9", 2),
     (float("inf"), 2), (float("nan"), 2)],
)  # fmt: skip
def test_tokens_that_a_server_cannot_have_counted_are_estimated(said, tokens):
    usage = {"prompt_tokens": said, "completion_tokens": said}
    reply = read_reply(plain(text="12345", usage=usage), "12345678", chat=False)
    assert (reply.prompt_tokens, reply.completion_tokens) == (tokens, tokens)
    assert read_reply(plain(text="12345", usage=[]), "123", chat=False)[2:4] == (1, 2)


@pytest.mark.parametrize(
    ("said", "is_chat", "found"),
    [
        ({"content": [{"top_logprobs": [{"token": "1", "logprob": -1}, {"token": "2", "logprob": "-0.5"}]}, {}]}, True,
         {"1": -1.0, "2": -0.5}),
        ({"top_logprobs": [{"1": -1, "2": float("-inf"), "3": float("nan")}, {"4": 0}]}, False, {"1": -1.0}),
        ({"content": []}, True, {}),
        ({"content": [{"top_logprobs": [{"token": "1", "logprob": -1}, {"token": "2"}]}]}, True, {}),
        ({"top_logprobs": [{"1": "a"}]}, False, {}),
        ({"top_logprobs": ["a"]}, False, {}),
        (None, True, {}),
        ([], False, {}),
    ],
)  # fmt: skip
def test_log_probabilities_are_those_of_the_first_token(said, is_chat, found):
    choice = {"message": {"content": "1"}, "text": "1", "finish_reason": "stop", "logprobs": said}
    assert read_reply({"choices": [choice]}, "?", chat=is_chat).logprobs == found


def test_a_text_can_be_written_as_utf_8():
    assert clean("a\ud83d\ude00b") == "a\U0001f600b"
    assert clean("a\ud800b") == "a\ufffdb"
    assert read_reply(plain(text="\udc00"), "?", chat=False).text == "\ufffd"


def test_reasoning_of_blanks_is_none():
    assert (join_reasoning(" \n", "a"), join_reasoning(" b ", "a")) == ("a", "<think>\nb\n</think>\n\na")
