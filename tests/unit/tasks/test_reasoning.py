"""Thinking and answer of a completion: whoever wrote the tags, an answer is never found in the thinking."""

import os
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.peer_review.scores import parse_score
from distillery.programs.extract import extract
from distillery.sampling.backends.replies import read_reply
from distillery.tasks.reasoning import Split, join_reasoning, split_reasoning, with_opening
from distillery.verification.graders import DEFAULT_GRADERS, grade

pytestmark = pytest.mark.reliability("model-text")

FUZZ = settings(max_examples=10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 300, deadline=None)

PLAIN = string.ascii_letters + string.digits + " .->\n"


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("<think>\n3 + 2\n</think>\n\nIt is 5.", ("3 + 2", "It is 5.", True)),
        ("3 + 2\n</think>\nIt is 5.", ("3 + 2", "It is 5.", True)),
        ("<think></think>It is 5.", ("", "It is 5.", True)),
        ("<think>3</think>So<think>+2</think>5", ("3\n\n+2", "So5", True)),
        ("<think>the <think> tag</think>5", ("the <think> tag", "5", True)),
        ("<think>the <think> tag</think> more</think>5", ("the <think> tag\n\nmore", "5", True)),
        ("a <think>b</think>c</think>5", ("b\n\na c", "5", True)),
        ("Sure.\n<think>3 + 2", ("3 + 2", "Sure.", False)),
        ("<think>3</think>5\n  <think>or", ("3\n\nor", "5", False)),
        ("<Thinking>3</Thinking>5", ("3", "5", True)),
        ("[THINK]3[/THINK]5", ("3", "5", True)),
        ("<think>", ("", "", False)),
        ("</think>5", ("", "5", True)),
    ],
)
def test_what_the_tags_mark_is_thinking_and_the_rest_the_answer(text, split):
    assert split_reasoning(text) == Split(*split)


@pytest.mark.parametrize("text", [" I think 5. --> 5\n", "It prints <think> --> 5", "<b>5</b> [5] think", ""])
def test_a_text_without_thinking_is_its_own_answer_unchanged(text):
    assert split_reasoning(text) == Split("", text, True)


@given(st.text(PLAIN), st.text(PLAIN))
def test_what_was_joined_is_split_again(thinking, answer):
    """An answer that is all there is stays unchanged; behind thinking, the space around it is not kept."""
    expected = Split(thinking.strip(), answer.strip() if thinking.strip() else answer, True)
    assert split_reasoning(join_reasoning(thinking, answer)) == expected


@pytest.mark.reliability("model-text", cases=FUZZ.max_examples)
@FUZZ
@given(st.lists(st.sampled_from(["<think>", "</think>", "[/THINK]", "\n", "  ", "7", "-->", "a"]), max_size=12))
def test_no_order_of_tags_loses_or_invents_a_word(pieces):
    found = split_reasoning("".join(pieces))
    assert (found.thinking + found.answer).count("7") == pieces.count("7")


@pytest.mark.parametrize("part", ["<think>", "</think>", "\n<think> ", "   ", "<think></think>", " <think"])
def test_the_work_grows_with_the_length_of_the_text(part):
    """A million characters in a fraction of a second each; a quadratic pattern would take minutes."""
    split_reasoning(part * (1_000_000 // len(part)) + "<think>")


@pytest.mark.parametrize("name", ["paper", "robust"])
@pytest.mark.parametrize(
    ("text", "answer_text", "finish_reason", "outcome", "answer"),
    [
        ("<think>maybe --> 7</think>So 3 + 2 --> 5", None, "stop", "right", "5"),
        ("maybe --> 5</think>So 3 + 3 --> 6", None, "stop", "wrong", "6"),
        ("<think>it must be --> 5", None, "length", "truncated", None),
        ("<think>it must be --> 5", None, "stop", "unparsable", None),
        ("5 minutes, please.\n<think>It must be", None, "stop", "unparsable", None),
        ("<think>it is --> 5</think>", None, "stop", "unparsable", None),
        ("3 + 2", "<think>7?</think> 5", "stop", "right", "5"),
        ("3 + 2", "<think>5", "stop", "unparsable", None),
    ],
)
def test_an_answer_is_never_found_in_the_thinking(name, text, answer_text, finish_reason, outcome, answer):
    grader = DEFAULT_GRADERS["number"][name]
    assert grade(text, answer_text, finish_reason, "5", grader, "-->")[:2] == (outcome, answer)


def test_a_program_in_the_thinking_is_a_draft():
    draft, last = "def solution():\n    return 1\n", "def solution():\n    return 2\n"
    assert extract(f"<think>\n{draft}\n</think>\n{last}").program == last
    assert extract(f"<think>\n{'word ' * 20_000}</think>\n{last}").program == last
    assert extract(f"<think>\n{draft}").problem == "no_program"


def test_a_score_in_the_thinking_of_a_reviewer_does_not_count():
    for protocol in ("paper", "robust"):
        assert parse_score("<think>Rather [1].</think>It is sound: [4]", protocol).score == 4
        assert parse_score("<think>Rather [1].</think>It is sound.", protocol).score is None
        assert parse_score("<think>It is sound: [4]", protocol).reason == "the reply ends inside its thinking"


def test_thinking_that_a_server_sends_apart_reads_like_that_of_a_local_model():
    message = {"reasoning_content": "3 + 2", "content": "It is 5."}
    reply = read_reply({"choices": [{"message": message, "finish_reason": "stop"}]}, "", chat=True)
    assert split_reasoning(reply.text) == Split("3 + 2", "It is 5.", True)


def test_a_tag_that_the_prompt_ends_with_opens_the_text():
    assert with_opening("Q\n<think>\n", "3 + 2") == "<think>\n3 + 2"
    assert with_opening("Q\n<think>\n", "<think>3 + 2") == "<think>3 + 2"
    for prompt in ("Q", "Q\n<think>\n\n</think>\n\n"):
        assert with_opening(prompt, "3 + 2") == "3 + 2"
