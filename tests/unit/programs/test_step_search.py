"""Step-by-step verification: the greedy text for a certain model, scores of prefixes, and the order of beams."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.config.prompt import Prompt
from distillery.programs.step_scorers import NoScorer, Runs, Similarity
from distillery.programs.step_scorers.execution import FAILED, so_far
from distillery.programs.step_search import Beam, has_returned, search
from distillery.records import Question
from distillery.sampling.logprobs import encode_scored, tail_of
from distillery.sampling.store import Stored

QUESTION = Question(qid="q", task="t", question="Ann has 2 apples and buys 3. How many?", gold="5")
SPEC = {
    "decoding": {"temperature": 0.0, "max_new_tokens": 64, "answer_tokens": 1},
    "samples": 1,
    "steps": {"beams": 2, "samples": 2, "max_lines": 40, "lambda": 1.0},
}


class Certain:
    """A model that writes one text and no other, token by token; a token may hold a line's end and what follows it.

    As an engine does, it stops after the token in which the stop text ends.
    """

    folder, architecture = Path("nowhere"), "causal"

    def __init__(self, tokens, head, ends=True):
        self.tokens, self.head, self.ends = tokens, head, ends

    def complete(self, requests, decoding, stop, what, *, scored):
        return [self.answer(request.prompt.removeprefix(self.head), stop) for request in requests]

    def answer(self, written, stop):
        text, token = "", 0
        while not "".join(self.tokens[:token]).startswith(written):
            token += 1
        assert "".join(self.tokens[:token]) == written, "the prefix is not what the model wrote"
        for token_text in self.tokens[token:]:
            text += token_text
            cuts = [text.find(mark) for mark in stop if mark in text]
            if cuts:
                shown = text[: min(cuts)]
                return Stored("k", 0, encode_scored(shown, -0.1, tail_of(text, shown, stop)), "stop", 1, 1)
        return Stored("k", 0, encode_scored(text, -0.1, None), "stop", 1, 1)


def found(tokens, scorer=None, stop=()):
    prompt = Prompt(prompt="s", input="Q: {{ question }}\n", target="{{ rationale }}", form="program", stop=list(stop))
    model = Certain(tokens, f"Q: {QUESTION.question}\n")
    spec = {**SPEC, "prompt": prompt.model_dump()}
    completions, counts = search([QUESTION], [], spec, model, scorer or NoScorer(), sampler="s")
    assert counts["finished"] == 1
    return completions[0].text


PROGRAMS = {
    "plain": "def solution():\n    a = 2\n    return a",
    "a line's end at the end": "def solution():\n    a = 2\n    return a\n",
    "blank lines": "def solution():\n    a = 2\n\n    b = 3\n\n\n    return a + b",
    "a name that begins with return": "def solution():\n    return_trip = 2\n    return return_trip * 2",
    "a helper": "def half(x):\n    return x / 2\n\ndef solution():\n    return half(4)",
    "a nested helper": "def solution():\n    def half(x):\n        return x / 2\n    return half(4)",
    "returns in branches": "def solution():\n    a = 2\n    if a > 1:\n        return a\n    else:\n        return 0",
    "a docstring": 'def solution():\n    """How many?\n    return 5\n    """\n    a = 2\n    return a',
    "open brackets": "def solution():\n    a = (2 +\n        3)\n    return (a *\n            2)",
    "an import": "import math\n\ndef solution():\n    return math.sqrt(4)",
    "a comment": "# two apples\ndef solution():\n    # first\n    a = 2\n    return a",
    "a loop": "def solution():\n    n = 0\n    while n < 5:\n        n += 2\n    return n",
    "a counter": "from itertools import count\ndef solution():\n    for n in count():\n        if n > 3:\n"
    "            break\n    return n",
    "a try": "def solution():\n    try:\n        a = 1 / 0\n    except ZeroDivisionError:\n        a = 2\n    return a",
    "tabs": "def solution():\n\ta = 2\n\tif a:\n\t\ta = 3\n\treturn a",
    "everything indented": "    def solution():\n        a = 2\n        return a",
    "white space at ends": "def solution():  \n    a = 2   \n    return a  ",
    "no program at all": "I do not know.\n\nSorry.",
}


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(PROGRAMS)), st.data())
def test_for_a_certain_model_the_search_returns_the_greedy_text_whatever_the_tokenizer(name, data):
    text = PROGRAMS[name]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(text) - 1), max_size=len(text) - 1)))
    tokens = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert found(tokens) == text


def test_the_search_ends_when_solution_has_returned_at_its_outer_level():
    text = "def solution():\n    return 5\nprint(solution())\nprint('and so on')\n"
    assert found([text[:3], *text[3:]]) == "def solution():\n    return 5\n"


@pytest.mark.parametrize(
    "tokens", [["def f", "oo():\n", "\n", "x"], ["def foo():", "\n\nx"], ["def foo():\n\n  ", "x"]]
)
def test_a_stop_text_of_the_prompt_ends_the_program_as_it_does_in_greedy_decoding(tokens):
    assert found(tokens, stop=["\n\n"]) == "def foo():"


@pytest.mark.parametrize(
    ("text", "returned"),
    [
        ("def solution():\n    return 1\n", True),
        ("def solution():\n    return (1 +\n", False),
        ("def half(x):\n    return x\n", False),
        ("def solution():\n    if 1:\n        return 1\n", False),
        ("def solution():\n    def half():\n        return 1\n", False),
        ("def solution():\n    return_trip = 1\n", False),
        ('def solution():\n    """\n    return 1\n', False),
        ("  def solution():\n      return 1\n", True),
        ("nonsense here\n", False),
    ],
)
def test_only_solution_itself_returns(text, returned):
    assert has_returned(text) is returned


RUNNING = [name for name in PROGRAMS if name not in ("no program at all",)]


@pytest.fixture(scope="module")
def scores():
    """Scores of many prefixes at once: a sandbox is opened once."""

    def score(texts, finished=False):
        return Runs().scores(["?"] * len(texts), [""] * len(texts), texts, [finished] * len(texts))

    return score


def test_every_prefix_of_a_program_that_runs_scores_one(scores):
    prefixes = []
    for name in RUNNING:
        lines = PROGRAMS[name].splitlines(keepends=True)
        prefixes += [(name, "".join(lines[:number])) for number in range(1, len(lines) + 1)]
    low = [
        prefix for prefix, score in zip(prefixes, scores([text for _, text in prefixes]), strict=True) if score != 1.0
    ]
    assert low == []
    assert scores([PROGRAMS[name] for name in RUNNING], finished=True) == [1.0] * len(RUNNING)


@pytest.mark.parametrize(
    "text",
    [
        "def solution():\n    return b",
        "def solution():\n    a = b",
        "def solution():\n    a = b\n    if a:",
        "def solution():\n    a = = 2",
        "def solution():\n    a = 1 / 0\n    for n in range(3):",
        "not a program",
    ],
)
def test_a_prefix_that_cannot_run_scores_next_to_nothing(text, scores):
    assert scores([text]) == [FAILED], so_far(text)


@pytest.mark.parametrize(
    "text",
    ["def solution():\n    a = 2\n", "def solution():\n    return None", "def solution():\n    a = (2", "", "a = 2"],
)
def test_a_finished_program_without_a_value_scores_next_to_nothing(text, scores):
    assert scores([text], finished=True) == [FAILED]


CHOICES = {
    "": ["def solution():\n"] * 2,
    "def solution():\n": ["    nonsense = undefined\n", "    apples = 2 + 3\n"],
    "def solution():\n    nonsense = undefined\n": ["    return nonsense"] * 2,
    "def solution():\n    apples = 2 + 3\n": ["    return apples"] * 2,
}
LIKELIHOOD = {"    apples = 2 + 3\n": -0.9}


class Choosing(Certain):
    """A model with two next lines for a prefix."""

    def __init__(self):
        self.head = f"Q: {QUESTION.question}\n"

    def complete(self, requests, decoding, stop, what, *, scored):
        found = []
        for request in requests:
            line = CHOICES[request.prompt.removeprefix(self.head)][request.sample_index]
            tail = "" if line.endswith("\n") else None
            text = encode_scored(line.rstrip("\n"), LIKELIHOOD.get(line, -0.1), tail)
            found.append(Stored(line, request.sample_index, text, "stop", 1, 1))
        return found


def chosen(scorer, weight=1.0, **steps):
    prompt = Prompt(prompt="s", input="Q: {{ question }}\n", target="{{ rationale }}", form="program")
    spec = {**SPEC, "prompt": prompt.model_dump(), "steps": {**SPEC["steps"], "lambda": weight, **steps}}
    return search([QUESTION], [], spec, Choosing(), scorer, sampler="s")[0][0].text


def test_without_a_scorer_the_likeliest_program_wins():
    assert "nonsense" in chosen(NoScorer())


def test_a_scorer_that_runs_the_prefix_keeps_the_program_that_runs():
    assert chosen(Runs()) == "def solution():\n    apples = 2 + 3\n    return apples"


@pytest.mark.parametrize("scorer", [Runs, Similarity])
def test_weight_zero_is_plain_beam_search_whatever_the_scorer(scorer):
    assert chosen(scorer(), 0.0) == chosen(NoScorer())


def test_the_length_penalty_divides_by_the_tokens_and_favours_the_longer_of_two_beams():
    short = Beam("a", likelihood=-2.0, score=0.0, finished=True, key="s", tokens=2)
    long = Beam("b", likelihood=-3.0, score=-1.0, finished=True, key="l", tokens=8)
    plain, paper = {"lambda": 1.0, "length_penalty": 0.0}, {"lambda": 1.0, "length_penalty": 1.0}
    assert (short.rank(plain), long.rank(plain)) == (-2.0, -4.0)
    assert (short.rank(paper), long.rank(paper)) == (-1.0, -0.5)


def test_a_line_about_the_question_is_more_similar_than_one_about_something_else():
    near, far, header = Similarity().scores(
        [QUESTION.question] * 3, [""] * 3, ["    apples = 2", "    import antigravity", "def solution():"], [False] * 3
    )
    assert 1 >= near > far >= 0 and header == 1.0
