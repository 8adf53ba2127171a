"""Beams of the search over lines: how many are kept, and which, on a tree of lines whose log-probabilities are known.

zz = 1   -1   then   return zz   -5     -6 in all: best after one line
yy = 2   -2   then   return yy   -1     -3 in all: best of all
xx = 3   -3   then   return xx   -1     -4 in all: first by alphabet
"""

from pathlib import Path

import pytest

from distillery.config.prompt import Prompt
from distillery.programs.step_scorers import NoScorer
from distillery.programs.step_search import search
from distillery.records import Question
from distillery.sampling.logprobs import encode_scored
from distillery.sampling.store import Stored

QUESTION = Question(qid="q", task="t", question="?", gold="1")
HEAD = "def solution():\n"
FIRST = [("    zz = 1", -1.0), ("    yy = 2", -2.0), ("    xx = 3", -3.0)]
LAST = {"zz": -5.0, "yy": -1.0, "xx": -1.0}


class Tree:
    """Sample i of a prefix writes its i-th line."""

    folder, architecture = Path("nowhere"), "causal"

    def complete(self, requests, decoding, stop, what, *, scored):
        return [self.line(request.prompt.removeprefix("?"), request.sample_index) for request in requests]

    def line(self, prefix: str, index: int) -> Stored:
        if not prefix:
            text, value, tail = HEAD.rstrip(), 0.0, ""
        elif prefix == HEAD:
            text, value, tail = *FIRST[index], ""
        else:
            name = prefix.split()[2]
            text, value, tail = f"    return {name}", LAST[name], None
        return Stored(f"{prefix}{index}", index, encode_scored(text, value, tail), "stop", 1, 1)


@pytest.mark.parametrize(("beams", "found"), [(1, "zz"), (2, "yy"), (3, "yy")])
def test_the_likeliest_prefixes_are_kept_as_many_as_the_setting_says(beams, found):
    prompt = Prompt(prompt="s", input="?", target="{{ rationale }}", form="program")
    steps = {"beams": beams, "samples": 3, "max_lines": 5, "lambda": 1.0}
    spec = {
        "prompt": prompt.model_dump(), "steps": steps, "samples": 1,
        "decoding": {"temperature": 0.0, "max_new_tokens": 9, "answer_tokens": 1},
    }  # fmt: skip
    ((best,), counts) = search([QUESTION], [], spec, Tree(), NoScorer(), sampler="s")
    assert f"return {found}" in best.text and counts["finished"] == 1
