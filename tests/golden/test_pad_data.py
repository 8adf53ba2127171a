"""PaD's public programs under our filter: the authors' counts, row by row, and what extraction changes.

All runs go through the sandbox. `raw` is the text as published with the gate off, which is what the authors ran.
"""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from distillery.config.prompt import Prompt
from distillery.errors import UserError
from distillery.programs.execution import RunOutcome
from distillery.programs.extract import extract
from distillery.programs.feedback import needs_refinement
from distillery.programs.gate import refusal
from distillery.programs.injection import ERROR_CLASSES, confirmed, inject
from distillery.programs.matching import count, judge
from distillery.programs.sandbox import Sandbox
from distillery.programs.step_scorers import NoScorer
from distillery.programs.step_search import search
from distillery.records import Question
from distillery.sampling.logprobs import encode_scored, tail_of
from distillery.sampling.store import Stored
from distillery.tasks.released.fine_tune_cot import fine_tune_cot_questions
from distillery.tasks.released.pad import pad_completions, pad_questions, pad_recorded_outputs

ROOT = "replay/pad"
TEACHER = f"{ROOT}/gsm8k_test_teacher_programs_0000-0054.jsonl"
STUDENT = f"{ROOT}/gsm8k_test_student_outputs_0000-0040.jsonl"
pytestmark = pytest.mark.golden
Released = Callable[[str], Path]


@pytest.fixture(scope="module")
def boxes():
    """Sandboxes behind the gate and without it."""
    try:
        with Sandbox(workers=1) as gated, Sandbox(workers=1, gate=False) as free:
            yield gated, free
    except UserError as error:
        pytest.skip(str(error))


def gsm8k(released: Released, name: str):
    questions = {question.qid: question for question in pad_questions(released(TEACHER), "gsm8k", "test", first=4)}
    return questions, pad_completions(released(name), questions.values(), "published")


def filtered(questions, completions, box, answer_type="number"):
    """Extraction, run and judgement of every completion."""
    found = [extract(completion.text) for completion in completions]
    ran = iter(box.run([one.program for one in found if one.program is not None]))
    runs = [None if one.program is None else next(ran) for one in found]
    verdicts = [
        judge(run, questions[completion.qid].gold, answer_type) if run else {"paper": False, "strict": False}
        for run, completion in zip(runs, completions, strict=True)
    ]
    return found, runs, verdicts


@pytest.mark.parametrize(
    ("name", "right", "one_line", "labels"),
    [
        (TEACHER, 42, 52, {"ok": 52, "syntax": 3}),
        (STUDENT, 15, 39, {"ok": 38, "wrong_type": 1, "syntax": 1, "exception:NameError": 1}),
    ],
)
def test_the_published_filter_is_reproduced_on_the_text_as_published(name, right, one_line, labels, released, boxes):
    questions, completions = gsm8k(released, name)
    runs = list(boxes[1].run(completion.text for completion in completions))
    verdicts = [
        judge(run, questions[completion.qid].gold, "number") for run, completion in zip(runs, completions, strict=True)
    ]
    assert sum(verdict["paper"] for verdict in verdicts) == right
    assert all(verdict["paper"] == verdict["strict"] for verdict in verdicts)
    assert sum(run.stdout_lines == 1 for run in runs) == one_line
    assert Counter(run.label for run in runs) == labels


def test_the_teacher_rows_that_are_not_right_are_the_known_ones(released, boxes):
    questions, completions = gsm8k(released, TEACHER)
    runs = boxes[1].run(completion.text for completion in completions)
    wrong = [
        row
        for row, (run, completion) in enumerate(zip(runs, completions, strict=True))
        if not judge(run, questions[completion.qid].gold, "number")["paper"]
    ]
    assert wrong == [3, 4, 8, 9, 12, 15, 25, 31, 33, 34, 37, 39, 42]


def test_the_counters_of_our_filter_add_up_on_teacher_rows(released, boxes):
    questions, completions = gsm8k(released, TEACHER)
    found, runs, verdicts = filtered(questions, completions, boxes[0])
    problems = {row: one.problem for row, one in enumerate(found) if one.problem}
    assert problems == {3: "two_solutions", 31: "refused", 34: "refused", 52: "two_solutions"}
    counts = count(
        (one.problem, run, verdict["strict"]) for one, run, verdict in zip(found, runs, verdicts, strict=True)
    )
    assert (counts.asked, counts.refused, counts.unparsable, counts.rejected) == (55, 2, 2, 0)
    assert (counts.failed, counts.wrong, counts.kept) == (0, 10, 41)  # row 52 was kept by accident


def test_the_gate_turns_no_program_of_the_teacher_or_the_student_away(released):
    for name in (TEACHER, STUDENT):
        programs = [extract(completion.text).program for completion in gsm8k(released, name)[1]]
        assert [refusal(program) for program in programs if program] == [None] * sum(map(bool, programs))


def test_an_echoed_question_leaves_no_docstring(released):
    programs = [extract(completion.text).program for completion in gsm8k(released, TEACHER)[1]]
    assert not [program for program in programs if program and '"""' in program]


def test_every_student_program_gives_what_the_authors_recorded(released, boxes):
    _, completions = gsm8k(released, STUDENT)
    runs = list(boxes[0].run(completion.text for completion in completions))
    assert [run.last_stdout for run in runs] == pad_recorded_outputs(released(STUDENT))
    raised = {row: needs_refinement(run, "number") for row, run in enumerate(runs) if needs_refinement(run, "number")}
    assert raised == {
        21: "SyntaxError: invalid syntax",
        26: "NameError: name 'allen_to_darrell_ratio' is not defined",
        40: "TypeError: solution() returned None, not a number",
    }


@pytest.mark.parametrize(
    ("task", "file", "answer_type", "rows", "raw", "ours"),
    [
        ("last_letter_concatenation", "last_letter_teacher_responses_0000-0028", "letters", 29, 25, 25),
        ("coin_flip", "coin_flip_teacher_responses_0000-0018", "yes-no", 19, 12, 13),  # one has prose before it
    ],
)
def test_symbolic_programs_are_judged_by_their_strings(task, file, answer_type, rows, raw, ours, released, boxes):
    folder = "datasets/fine-tune-cot"
    data, split = released(f"{folder}/dataset/{task}.json"), released(f"{folder}/split/{task}__default.json")
    questions: dict[str, Question] = {
        question.qid: question for part in fine_tune_cot_questions(task, data, split).values() for question in part
    }
    completions = pad_completions(released(f"{ROOT}/{file}.jsonl"), questions.values(), "published")
    assert len(completions) == rows
    runs = boxes[1].run(completion.text for completion in completions)
    kept = [
        judge(run, questions[completion.qid].gold, answer_type)["paper"]
        for run, completion in zip(runs, completions, strict=True)
    ]
    _, _, verdicts = filtered(questions, completions, boxes[0], answer_type)
    assert (sum(kept), sum(verdict["strict"] for verdict in verdicts)) == (raw, ours)


def test_errors_injected_into_real_programs_raise_their_class(released, boxes):
    questions, completions = gsm8k(released, TEACHER)
    found, runs, verdicts = filtered(questions, completions, boxes[0])
    kept = [
        (one.program, run) for one, run, verdict in zip(found, runs, verdicts, strict=True) if run and verdict["strict"]
    ]
    for error_class in ERROR_CLASSES:
        made = [inject(program, error_class, random.Random(row)) for row, (program, _) in enumerate(kept)]
        there = [(text, clean) for text, (_, clean) in zip(made, kept, strict=True) if text]
        ran = boxes[0].run(text for text, _ in there)
        good = [confirmed(run, error_class, clean) for run, (_, clean) in zip(ran, there, strict=True)]
        assert len(good) > 35
        assert sum(good) >= (0.8 if error_class == "operand_swap" else 1) * len(good), error_class


def test_the_published_injection_confirms_two_classes_and_never_a_syntax_error(released, boxes):
    _, completions = gsm8k(released, TEACHER)
    programs = [found.program for completion in completions if (found := extract(completion.text)).program]
    for error_class, expected in {"name_error": True, "unbound_local_error": True, "syntax_error": False}.items():
        made = [inject(program, error_class, random.Random(0), "paper") for program in programs]
        runs = list(boxes[0].run(text for text in made if text))
        assert {confirmed(run, error_class) for run in runs} == {expected}
        assert error_class != "syntax_error" or {run.outcome for run in runs} == {RunOutcome.OK}


@pytest.mark.parametrize(("name", "programs", "right"), [(STUDENT, 41, 15), (TEACHER, 51, 41)])
def test_a_certain_student_keeps_its_programs_in_step_by_step_search(name, programs, right, released, boxes):
    """Lines cut at every third character as tokens: the search returns each text, and the right ones stay right."""
    questions, completions = gsm8k(released, name)
    texts = {completion.qid: extract(completion.text).program for completion in completions}
    texts = {qid: text for qid, text in texts.items() if text is not None}
    found = {qid: searched(text) for qid, text in texts.items()}
    assert len(found) >= programs and found == texts
    runs = boxes[0].run(found.values())
    verdicts = [judge(run, questions[qid].gold, "number") for qid, run in zip(found, runs, strict=True)]
    assert sum(verdict["paper"] for verdict in verdicts) == right


def searched(text: str) -> str:
    """What the search makes of a model that writes this text and no other."""
    prompt = Prompt(prompt="s", input="{{ question }}\n", target="{{ rationale }}", form="program")
    question = Question(qid="q", task="t", question="?", gold="0")
    model = Certain([text[place : place + 3] for place in range(0, len(text), 3)])
    steps = {"beams": 2, "samples": 2, "max_lines": 200, "lambda": 1.0}
    spec = {"prompt": prompt.model_dump(), "decoding": {"temperature": 0.0}, "samples": 1, "steps": steps}
    return search([question], [], spec, model, NoScorer(), sampler="s")[0][0].text


class Certain:
    """Writes one text, token by token, and stops after the token in which a stop text ends."""

    folder, architecture = Path("nowhere"), "causal"

    def __init__(self, tokens):
        self.tokens = tokens

    def complete(self, requests, decoding, stop, what, *, scored):
        return [self.line(request.prompt.removeprefix("?\n"), stop) for request in requests]

    def line(self, prefix, stop):
        whole = "".join(self.tokens)
        assert whole.startswith(prefix) and len(prefix) % 3 == 0
        written = ""
        for token in self.tokens[len(prefix) // 3 :]:
            written += token
            if stop[0] in written:
                text = written.partition(stop[0])[0]
                return Stored("k", 0, encode_scored(text, -0.1, tail_of(written, text, stop)), "stop", 1, 1)
        return Stored("k", 0, encode_scored(written, -0.1, None), "stop", 1, 1)
