"""Programs in the stages: judging, rows that teach repair, self-refinement, step-by-step verification."""

import json

import pytest

from distillery.config.prompt import Prompt
from distillery.config.recipe import Rows
from distillery.programs.self_refinement import NO_PROGRAM, refine
from distillery.records import Completion, Outcome, Question, Verdict
from distillery.sampling.logprobs import encode_scored, tail_of
from distillery.sampling.store import Stored
from distillery.tasks.prompts import REPAIR_FIELDS, Renderer
from distillery.training.compose import compose
from distillery.training.sources.common import Sampled
from distillery.verification.judge import Reading, judge

READING = Reading(form="program", answer="number")
SUM = "def solution():\n    a = 2\n    b = 3\n    result = a + b\n    return result"
QUESTION = Question(qid="q1", task="t", question="Tom has 2 apples. He gets 3 more. How many?", gold="5")
STUDENT = Prompt(prompt="student", form="program", input="Question: {{ question }}\n", target="{{ rationale }}")
REPAIR = Prompt(
    prompt="repair",
    form="program",
    input="{{ question }}\n{{ program }}\n{{ feedback }}\nMended:\n",
    target="{{ rationale }}",
)


def completion(text: str, index: int = 0, reason: str = "stop") -> Completion:
    return Completion(
        completion_id=f"id-{index}", qid="q1", sampler="s", sample_index=index, text=text, finish_reason=reason,
        prompt_tokens=1, completion_tokens=1,
    )  # fmt: skip


CASES = [
    (SUM, "stop", Outcome.RIGHT, Outcome.RIGHT),
    (f"Sure!\n```python\n{SUM}\n```", "stop", Outcome.RIGHT, Outcome.RIGHT),
    (SUM.replace("a + b", "a - b"), "stop", Outcome.WRONG, Outcome.WRONG),
    ("def solution():\n    return 5.2", "stop", Outcome.RIGHT, Outcome.WRONG),
    ("def solution():\n    return '5'", "stop", Outcome.RIGHT, Outcome.WRONG),
    ("def solution():\n    return None", "stop", Outcome.WRONG, Outcome.WRONG),
    ("def solution():\n    return total", "stop", Outcome.RAISED, Outcome.RAISED),
    ("def solution():\n    while True: pass", "stop", Outcome.RAISED, Outcome.RAISED),
    ("import socket\ndef solution():\n    return 5", "stop", Outcome.REJECTED, Outcome.REJECTED),
    ("def solution():\n    return (5", "stop", Outcome.UNPARSABLE, Outcome.UNPARSABLE),
    ("def solution():\n    return (5", "length", Outcome.TRUNCATED, Outcome.TRUNCATED),
    ("There are five.", "stop", Outcome.UNPARSABLE, Outcome.UNPARSABLE),
    ("As an AI language model, I cannot help.", "stop", Outcome.REFUSED, Outcome.REFUSED),
    ("", "failed", Outcome.FAILED, Outcome.FAILED),
]


def test_every_completion_gets_the_outcome_of_its_run_under_both_rules():
    written = [completion(text, index, reason) for index, (text, reason, _, _) in enumerate(CASES)]
    judged = judge(written, {"q1": "5"}, {}, READING)
    told = [(one["paper"].outcome, one["robust"].outcome) for one in judged.verdicts]
    assert told == [(paper, robust) for _, _, paper, robust in CASES]
    assert judged.work["programs"] == 11 and judged.work["sandbox"]


def rows_of(*texts: str, **section):
    verdicts = judge([completion(text, n) for n, text in enumerate(texts)], {"q1": "5"}, {}, READING).verdicts
    sampled = Sampled(
        completions=[completion(text, n) for n, text in enumerate(texts)],
        verdicts=[
            Verdict(
                completion_id=f"id-{n}", qid="q1", sample_index=n, grader=name, outcome=graded.outcome,
                answer=graded.answer, reason=graded.reason,
            )
            for n, by_grader in enumerate(verdicts)
            for name, graded in by_grader.items()
        ],
        renderer=Renderer(STUDENT, []),
        path=None,
    )  # fmt: skip
    rows = Rows.model_validate({"from": "programs", **section})
    return compose(
        [QUESTION],
        {"p": rows},
        {"p": sampled},
        Renderer(STUDENT, []),
        seed=1,
        repair=Renderer(REPAIR, [], REPAIR_FIELDS),
    )


def test_rows_hold_the_program_without_the_prose_around_it():
    rows, _ = rows_of(f"Here it is:\n```python\n{SUM}\n```\nGood luck!", SUM.replace("a + b", "a * b"))
    assert [(row.prompt, row.target.strip()) for row in rows] == [(f"Question: {QUESTION.question}\n", SUM)]


def test_programs_that_differ_in_layout_only_are_equal():
    spaced = SUM.replace("a = 2", "a  =  2  # Tom's")
    rows, summary = rows_of(SUM, spaced, unique=True)
    assert len(rows) == 1 and summary["sources"]["p"]["dropped"] == {"repeated": 1}


@pytest.mark.parametrize("error", ["name_error", "unbound_local_error", "syntax_error"])
def test_a_repair_row_shows_the_error_of_its_program_and_teaches_the_right_one(error):
    rows, _ = rows_of(SUM, inject=[error])
    (row,) = rows
    named = {"name_error": "NameError", "unbound_local_error": "UnboundLocalError", "syntax_error": "Error"}[error]
    assert named in row.prompt.split("Mended")[0]
    assert row.target.strip() == SUM and SUM not in row.prompt


def test_the_published_injection_teaches_with_empty_feedback():
    rows, _ = rows_of(SUM, inject=["syntax_error"], injection="paper")
    assert "return 'Syntax Error'" in rows[0].prompt and rows[0].prompt.endswith("\n\nMended:\n")


def test_equal_seeds_inject_equal_errors():
    assert rows_of(SUM, inject=["name_error"]) == rows_of(SUM, inject=["name_error"])


class Scripted:
    """An model_sampler whose model says what a function of the prompt says."""

    def __init__(self, say) -> None:
        self.say, self.prompts, self.folder, self.architecture = say, [], None, "causal"

    def complete(self, requests, decoding, stop, what, *, scored=False):
        self.prompts += [one.prompt for one in requests]
        told = [self.say(one.prompt, one.sample_index) for one in requests]
        if scored:
            told = [encode_scored(text, likelihood, *(tail or [""])) for text, likelihood, *tail in told]
        return [Stored(f"k{n}", 0, text, "stop", 1, 1) for n, text in enumerate(told)]


SPEC = {"prompt": REPAIR.model_dump(), "decoding": {"temperature": 0.0}, "rounds": 2, "answer": "number"}


def test_only_programs_that_fail_visibly_go_back_and_the_first_that_runs_is_kept():
    broken = SUM.replace("a + b", "a + c")
    model_sampler = Scripted(lambda prompt, _: SUM)
    last, drafts, counts = refine([QUESTION], [completion(broken)], [], SPEC, model_sampler)
    assert last[0].text == SUM
    assert [(draft.round, draft.feedback) for draft in drafts] == [(0, "NameError: name 'c' is not defined"), (1, None)]
    assert "name 'c' is not defined" in model_sampler.prompts[0] and broken in model_sampler.prompts[0]
    assert counts["rounds"] == [{"asked": 1, "failed": 1}, {"asked": 1, "failed": 0}]


def test_a_wrong_value_is_not_sent_back_since_no_user_would_see_it():
    model_sampler = Scripted(lambda prompt, _: SUM)
    wrong = SUM.replace("a + b", "a * b")
    last, _, _ = refine([QUESTION], [completion(wrong)], [], SPEC, model_sampler)
    assert last[0].text == wrong and model_sampler.prompts == []


def test_refinement_ends_after_its_rounds():
    model_sampler = Scripted(lambda prompt, _: "I do not know.")
    _, drafts, _ = refine([QUESTION], [completion("No.")], [], SPEC, model_sampler)
    assert [draft.feedback for draft in drafts] == [NO_PROGRAM] * 3 and len(model_sampler.prompts) == 2


def test_a_scored_text_is_one_json_value():
    assert json.loads(encode_scored("    a = 'ü'", -0.123456789, "  ")) == ["    a = 'ü'", -0.12346, "  "]


@pytest.mark.parametrize(
    ("written", "text", "tail"),
    [("a = 1\n   ", "a = 1", "   "), ("a = 1\n", "a = 1", ""), ("a = 1", "a = 1", None), ("a = 1;b", "a = 1", "b")],
)
def test_a_tail_is_what_follows_the_stop_text_that_ended_the_writing(written, text, tail):
    assert tail_of(written, text, ("\n", ";")) == tail
