"""Records, requests and counts of the stages that write and run programs, each written out."""

import ast
from types import SimpleNamespace

import pytest

from distillery.config.prompt import Prompt
from distillery.config.recipe import Rows
from distillery.errors import UserError
from distillery.programs import run as running
from distillery.programs.execution import Execution, RunOutcome
from distillery.programs.injection import _misspelt
from distillery.programs.repair_rows import SILENT, repair_rows
from distillery.programs.run import SANDBOX_VARIABLE, run_programs
from distillery.programs.self_refinement import NO_PROGRAM, most_repairs, refine
from distillery.programs.step_search import Beam, has_returned, most_lines, search
from distillery.programs.syntax import MAX_BYTES, MAX_DEPTH, Unparsable, completeness, depth, parse, unparse
from distillery.records import Completion, Question
from distillery.sampling.logprobs import encode_scored
from distillery.sampling.store import Stored
from distillery.tasks.prompts import REPAIR_FIELDS, Renderer

REPAIR = Prompt(
    prompt="repair", form="program", input="{{ question }}|{{ program }}|{{ feedback }}|", target="{{ rationale }}"
)
SUM = "def solution():\n    a = 2\n    b = 3\n    return a + b\n"


def question(qid: str) -> Question:
    return Question(qid=qid, task="t", question=f"{qid}?", gold="5")


def completion(qid: str, text: str, index: int = 0) -> Completion:
    return Completion(
        completion_id=f"{qid}-{index}", qid=qid, sampler="small", sample_index=index, text=text, finish_reason="stop",
        prompt_tokens=10, completion_tokens=20,
    )  # fmt: skip


class Model:
    """A sampler that gives the next of its answers to each request, and keeps what it was asked."""

    def __init__(self, *answers: str, finish: str = "stop", folder=None) -> None:
        self.answers, self.finish, self.calls, self.folder, self.architecture = (
            iter(answers),
            finish,
            [],
            folder,
            "causal",
        )

    def complete(self, requests, decoding, stop, what, *, scored=False):
        self.calls.append((list(requests), decoding, stop, what, scored))
        return [
            Stored(f"k{len(self.calls)}{n}", request.sample_index, next(self.answers), self.finish, 3, 4)
            for n, request in enumerate(requests)
        ]


# Self-refinement


def test_each_version_is_a_record_and_the_last_one_has_the_tokens_of_all():
    spec = {"prompt": REPAIR.model_dump(), "decoding": {"temperature": 0.0}, "rounds": 2, "answer": "number"}
    broken = SUM.replace("a + b", "a + c")
    runaway = "no program here " * 200
    model = Model(runaway, SUM, SUM, finish="length")
    given = [completion("q2", runaway), completion("q1", broken), completion("q3", SUM)]
    last, drafts, counts = refine([question(qid) for qid in ("q1", "q2", "q3")], given, [], spec, model)
    shown = runaway.strip()[:2000]
    unknown = "NameError: name 'c' is not defined"
    assert [(len(requests), decoding, stop, what) for requests, decoding, stop, what, _ in model.calls] == [
        (2, {"temperature": 0.0}, [], "repairs, round 1"), (1, {"temperature": 0.0}, [], "repairs, round 2"),
    ]  # fmt: skip
    ((first, second), *_), ((third,), *_) = model.calls
    assert (first.prompt, second.prompt, third.prompt) == (
        f"q1?|{broken}|{unknown}|", f"q2?|{shown}|{NO_PROGRAM}|", f"q1?|{shown}|{NO_PROGRAM}|",
    )  # fmt: skip
    assert {(request.sample_index, request.special_tokens) for request in (first, second, third)} == {(0, True)}
    assert [(draft.qid, draft.round, draft.completion_id, draft.feedback) for draft in drafts] == [
        ("q1", 0, "q1-0", unknown), ("q2", 0, "q2-0", NO_PROGRAM), ("q3", 0, "q3-0", None),
        ("q1", 1, "k10", NO_PROGRAM), ("q2", 1, "k11", None), ("q1", 2, "k20", None),
    ]  # fmt: skip
    assert [draft.text for draft in drafts] == [broken, runaway, SUM, runaway, SUM, SUM]
    assert counts == {"rounds": [{"asked": 3, "failed": 2}, {"asked": 2, "failed": 1}, {"asked": 1, "failed": 0}]}
    assert [found.model_dump() for found in last] == [
        given[1].model_dump() | {"completion_id": "k20", "text": SUM, "finish_reason": "length", "prompt_tokens": 16,
                                 "completion_tokens": 28},
        given[0].model_dump() | {"completion_id": "k11", "text": SUM, "finish_reason": "length", "prompt_tokens": 13,
                                 "completion_tokens": 24},
        given[2].model_dump(),
    ]  # fmt: skip
    assert most_repairs(spec) == 2


# Rows that teach repair


def made(source: dict, *programs: str):
    given = [(question("q1"), completion("q1", text, index), text) for index, text in enumerate(programs)]
    rows = Rows.model_validate({"from": "programs", **source})
    return repair_rows(given, "pad", rows, Renderer(REPAIR, [], REPAIR_FIELDS), 1)


def test_a_repair_row_is_a_whole_record_with_a_place_of_its_own():
    classes = ["name_error", "unbound_local_error", "syntax_error"]
    rows, dropped = made({"inject": classes, "injections": 2}, SUM, SUM)
    assert [(row.qid, row.source, row.sample_index, row.completion_id) for row in rows] == [
        ("q1", "pad", 0, "q1-0"), ("q1", "pad", 1, "q1-0"), ("q1", "pad", 3, "q1-1"), ("q1", "pad", 4, "q1-1"),
    ]  # fmt: skip
    assert {row.target for row in rows} == {SUM} and not dropped
    for row in rows:
        shown, program, feedback, rest = row.prompt.split("|")
        assert (shown, rest) == ("q1?", "") and program != SUM and feedback.partition(":")[0].endswith("Error")


def test_an_injection_that_cannot_be_made_or_confirmed_is_counted():
    constant = "def solution():\n    return 5\n"
    rows, dropped = made({"inject": ["name_error", "operand_swap"], "injections": 2}, SUM, constant, "not ( python")
    assert dropped == {"no place for name_error": 1, "no place for operand_swap": 1, "not printable: syntax": 1}
    assert SILENT in [row.prompt.split("|")[2] for row in rows]
    zeros = "def solution():\n    a = 0\n    b = 0\n    return a - b\n"  # b - a and a + b are 0 as well
    assert made({"inject": ["operand_swap"], "injections": 1}, zeros) == ([], {"operand_swap not raised": 1})
    rows, dropped = made({"inject": ["syntax_error"], "injections": 1, "injection": "paper"}, SUM)
    assert (rows[0].prompt.endswith("||"), rows[0].target, dict(dropped)) == (True, SUM, {})


def test_the_target_of_a_repair_has_the_gold_answer_and_the_question_where_its_template_does():
    prompt = REPAIR.model_copy(update={"target": "{{ rationale }}# {{ answer }} of {{ question }}"})
    given = [(question("q1"), completion("q1", SUM), SUM)]
    rows = Rows.model_validate({"from": "programs", "inject": ["syntax_error"]})
    ((row,), _) = repair_rows(given, "pad", rows, Renderer(prompt, [], REPAIR_FIELDS), 1)
    assert row.target == f"{SUM}# 5 of q1?"


def test_a_name_whose_other_spellings_are_taken_gets_a_number_below_a_hundred():
    shown = []
    draw = SimpleNamespace(choice=lambda names: shown.append(names) or names[0])
    taken = {"a_total", "a_value", "a_count", "as", "num_a", "a_2", "a_4"}
    assert _misspelt("a", taken, draw) == "a_3"
    assert shown == [["a_3", *(f"a_{number}" for number in range(5, 100))]]
    _misspelt("one_two", {"one_two_total"}, draw)
    assert shown[1] == ["one_two_value", "one_two_count", "one_twos", "num_one_two", "two", "one", "two_one"]
    _misspelt("class_", set(), draw)
    assert shown[2] == ["class__total", "class__value", "class__count", "class_s", "num_class_"], "no keyword, no _name"


# Runs


def test_programs_run_once_each_and_are_counted(monkeypatch):
    monkeypatch.setenv(SANDBOX_VARIABLE, "auto")
    now = iter([10.0, 12.2468])
    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: next(now)))
    runs, work = run_programs([SUM, SUM, SUM.replace("2", "7")])
    assert [run.value for run in runs] == ["5", "5", "10"]
    assert work.pop("sandbox").startswith(("bwrap", "seccomp"))
    assert work == {"programs": 3, "distinct_programs": 2, "seconds": 2.25}
    assert run_programs([]) == ([], {"programs": 0})


def test_a_sandbox_that_fails_is_named_with_its_counts_and_profile(monkeypatch):
    class Failing:
        def __init__(self, profile):
            self.profile = f"{profile} used"

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def run(self, programs):
            broken = Execution(RunOutcome.SANDBOX_ERROR, message="no memory")
            return [broken, Execution(RunOutcome.OK), broken]

    monkeypatch.setattr(running, "Sandbox", Failing)
    for variable, profile in [(None, "auto used"), ("seccomp", "seccomp used")]:
        monkeypatch.delenv(SANDBOX_VARIABLE, raising=False)
        if variable:
            monkeypatch.setenv(SANDBOX_VARIABLE, variable)
        with pytest.raises(UserError) as caught:
            run_programs(["a", "b", "c"])
        assert caught.value.problem == "the sandbox itself failed on 2 of 3 programs: no memory"
        assert (caught.value.key, caught.value.value) == ("sandbox", profile)


# Search by lines

SPEC = {
    "prompt": Prompt(prompt="p", form="program", input="Q: {{ question }}\n", target="{{ rationale }}",
                     stop=["###"]).model_dump(),
    "decoding": {"temperature": 0.0, "max_new_tokens": 9, "top_p": 0.5, "top_k": 3, "seed": 8, "answer_tokens": 1},
    "steps": {"beams": 2, "samples": 2, "max_lines": 3, "lambda": 0.5, "length_penalty": 0.0},
}  # fmt: skip


class Halves:
    """A scorer that gives every line a half, and keeps what it was shown."""

    def __init__(self) -> None:
        self.seen = []

    def scores(self, *given):
        self.seen.append(given)
        return [0.5 for _ in given[0]]


def line(text: str, likelihood: float, tail: str | None = "") -> str:
    return encode_scored(text, likelihood, tail)


def test_a_search_sends_the_likeliest_and_the_sampled_lines_and_keeps_what_they_cost(tmp_path):
    model = Model(
        line("def solution():", -0.1, "    "), line("def solution() :", -0.3),
        line("return 5", -0.1), line("    return 7", -0.2), line("return 5", -0.4), line("x###", -9.0, None),
        folder=tmp_path,
    )  # fmt: skip
    scorer = Halves()
    completions, summary = search([question("q1")], [], SPEC, model, scorer, sampler="teach")
    assert [(what, stop, scored) for _, _, stop, what, scored in model.calls] == [
        ("line 1 of teach", ["\n"], True)] * 2 + [("line 2 of teach", ["\n"], True)] * 2  # fmt: skip
    assert [decoding for _, decoding, *_ in model.calls[:2]] == [
        SPEC["decoding"], {**SPEC["decoding"], "temperature": 0.7, "top_p": 1.0, "top_k": 0, "seed": 0},
    ]  # fmt: skip
    sent = [[(request.prompt, request.sample_index) for request in requests] for requests, *_ in model.calls]
    first, second = "Q: q1?\ndef solution():\n    ", "Q: q1?\ndef solution() :\n"
    assert sent == [[("Q: q1?\n", 0)], [("Q: q1?\n", 1)], [(first, 0), (second, 0)], [(first, 1), (second, 1)]]
    assert scorer.seen[0] == (
        ["q1?", "q1?"], ["", ""], ["def solution():\n", "def solution() :\n"], [False, False],
    )  # fmt: skip
    assert scorer.seen[1] == (
        ["q1?"] * 3, ["def solution():\n", "def solution() :\n", "def solution() :\n"],
        ["    return 5\n", "    return 7\n", "x"], [True, True, True],
    )  # fmt: skip
    assert [found.model_dump() for found in completions] == [
        {"completion_id": "k30", "qid": "q1", "sampler": "teach", "sample_index": 0,
         "text": "def solution():\n    return 5\n", "finish_reason": "stop", "prompt_tokens": 3,
         "completion_tokens": 8, "answer_text": None, "answer_id": None},
    ]  # fmt: skip
    assert summary == {"finished": 1, "questions": 1, "mean_lines": 2.0}


def test_a_line_at_its_limit_finishes_a_program_that_counts_as_cut_off(tmp_path):
    model = Model(line("a = 1", -0.1, None), line("b = 1", -0.2, None), finish="length", folder=tmp_path)
    ((found,), summary) = search([question("q1")], [], SPEC, model, Halves(), sampler="s")
    assert (found.text, found.finish_reason, found.completion_tokens) == ("a = 1", "length", 4)
    assert summary == {"finished": 1, "questions": 1, "mean_lines": 1.0}


def test_a_program_that_never_ends_is_cut_off_after_its_lines(tmp_path):
    steps = {**SPEC["steps"], "max_lines": 2, "beams": 1, "samples": 1}
    model = Model(line("a = 1", -0.1), line("b = 1", -0.2), folder=tmp_path)
    ((found,), summary) = search([question("q1")], [], {**SPEC, "steps": steps}, model, Halves(), sampler="s")
    assert (found.text, found.finish_reason) == ("a = 1\nb = 1\n", "length")
    assert summary == {"finished": 0, "questions": 1, "mean_lines": 2.0}
    assert search([], [], SPEC, model, Halves(), sampler="s") == (
        [], {"finished": 0, "questions": 0, "mean_lines": 0.0},
    )  # fmt: skip


def test_the_most_lines_of_a_search_are_those_of_full_beams():
    assert most_lines({"steps": {"samples": 3, "beams": 2, "max_lines": 4}}) == 3 + 3 * 2 * 3
    assert most_lines({"steps": {"samples": 3, "beams": 2, "max_lines": 1}}) == 3


def test_the_rank_of_a_beam_weighs_scores_and_tokens():
    beam = Beam("x", likelihood=-2.0, score=-4.0, finished=False, key="k", tokens=4)
    assert beam.rank({"lambda": 0.5}) == -4.0
    assert beam.rank({"lambda": 0.5, "length_penalty": 0.5}) == -2.0
    assert Beam("x", -2.0, -4.0, False, "k").rank({"lambda": 1.0, "length_penalty": 1.0}) == -6.0
    assert has_returned("    def solution():\n        return 1\n") and not has_returned("def other():\n    return 1\n")


# Parsing


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("#" + "x" * (MAX_BYTES - 1), None),
        ("#" + "x" * MAX_BYTES, "size"),
        ("#" + "é" * (MAX_BYTES // 2), "size"),
        ("#" + "é" * (MAX_BYTES // 2 - 1), None),
        ("x = '\ud800'", "encoding"),
        ("x = 1\0", "encoding"),
        ("x = = 1", "syntax"),
        ("-" * 2000 + "1", "nesting"),
        ("x = " + "-" * (MAX_DEPTH - 3) + "1", None),
        ("x = " + "-" * (MAX_DEPTH - 2) + "1", "nesting"),
        ("x = '\\d'", None),
    ],
)
def test_a_text_is_parsed_or_refused_by_a_rule(source, rule, recwarn):
    if rule is None:
        assert isinstance(parse(source), ast.Module)
    else:
        with pytest.raises(Unparsable) as caught:
            parse(source)
        assert (caught.value.rule, str(caught.value)) == (rule, rule)
    assert not recwarn.list


def test_depth_counts_the_nodes_of_the_longest_path():
    assert depth(ast.parse("")) == 1
    assert depth(ast.parse("x = -1")) == 4, "module, assignment, sign, number"


def test_a_tree_that_cannot_be_printed_is_refused():
    with pytest.raises(Unparsable, match=r"^print$"):
        unparse(ast.Module([ast.Constant(1)], None))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("a = (1,", "incomplete"), ("a = 1", "complete"), ("a = = 1", "wrong"), ("", "complete"),
        ("def f():", "incomplete"), ("x\0", "wrong"), ("#" * MAX_BYTES, "complete"), ("#" * (MAX_BYTES + 1), "wrong"),
        ("x = '\\d'", "complete"), ("a = '''b", "incomplete"), ("return", "complete"),
    ],
)  # fmt: skip
def test_a_prefix_is_complete_incomplete_or_wrong(source, found, recwarn):
    assert completeness(source) == found and not recwarn.list
