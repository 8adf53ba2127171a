"""Each field of `Rows` changes which completions become rows, and nothing else: expected rows are set by hand."""

import hashlib
import json

import pytest

from distillery.config.base import plain
from distillery.config.prompt import Prompt
from distillery.config.recipe import Rows

from ..scripts import lines, script

QUESTIONS = ("qa", "qb", "qc", "qd")
TEXTS = {
    # question -> text, verdict of robust, verdict of paper, finish reason; four samples of each question
    "qa": [("a0", 1, 1, "stop"), ("a1", 0, 0, "stop"), ("a0", 1, 1, "stop"), ("a3", 1, 1, "length")],
    "qb": [("b0", 0, 0, "stop"), ("b1", 1, 1, "stop"), ("b2", 1, 1, "stop"), ("b3", 1, 1, "stop")],
    "qc": [("c0", 1, 1, "stop"), ("c1", 0, 0, "stop"), ("c2", 0, 0, "stop"), ("c3", 0, 0, "stop")],
    "qd": [("d0", 0, 0, "stop"), ("d1", 0, 0, "stop"), ("d2", 0, 1, "stop"), ("d3", 0, 0, "stop")],
}
RIGHT = {"qa0", "qa2", "qb1", "qb2", "qb3", "qc0"}
PROGRAM = "def solution():\n    plums = {}\n    figs = plums + 1\n    return figs - 2\n"


@pytest.fixture
def composed(tmp_path):
    """Compose rows of one source; return the rows and the summary."""

    def of(section: dict, seed: int = 0, form: str = "text", texts: dict = TEXTS) -> tuple[list[dict], dict]:
        questions = [
            {"qid": qid, "task": "t", "question": f"What is {qid}?", "gold": "g", "rationale": f"worked {qid}"}
            for qid in QUESTIONS
        ]
        completions, verdicts = [], []
        for qid, samples in texts.items():
            for index, (text, robust, paper, finish) in enumerate(samples):
                name = {"completion_id": f"{qid}{index}", "qid": qid, "sample_index": index}
                written = PROGRAM.format(f"1{index}{ord(qid[1])}") if form == "program" else f" {text} --> 9"
                completions.append(
                    {**name, "sampler": "s", "text": written, "finish_reason": finish, "prompt_tokens": 1,
                     "completion_tokens": 1}
                )  # fmt: skip
                verdicts += [
                    {**name, "grader": grader, "outcome": "right" if right else "wrong", "answer": "9", "reason": "r"}
                    for grader, right in (("robust", robust), ("paper", paper))
                ]
        files = {"questions": questions, "exemplars": [], "completions": completions, "verdicts": verdicts}
        for name, records in files.items():
            lines(tmp_path / f"{name}.jsonl", records)
        asked = Prompt(prompt="p", input="Q: {{ question }}\nA:", delimiter="-->", form=form)
        student = Prompt(prompt="p", input="{{ question }}", target="{{ rationale }} --> {{ answer }}")
        repair = Prompt(
            prompt="p", input="{{ question }}|{{ program }}|{{ feedback }}", target="{{ rationale }}", form="program"
        )
        sampled = section["from"] != "gold"
        script("compose").main(
            questions=tmp_path / "questions.jsonl",
            exemplars=tmp_path / "exemplars.jsonl",
            completions=[tmp_path / "completions.jsonl"] * sampled,
            verdicts=[tmp_path / "verdicts.jsonl"] * sampled,
            rows=tmp_path / "rows.jsonl",
            summary=tmp_path / "summary.json",
            sources={"mine": plain(Rows.model_validate(section))},
            sampled={"mine": plain(asked)} if sampled else {},
            prompt=plain(student),
            repair=plain(repair),
            seed=seed,
        )
        rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
        return rows, json.loads((tmp_path / "summary.json").read_text())

    return of


def names(rows: list[dict]) -> set[str]:
    return {row["completion_id"] for row in rows}


def draw(seed: int, *what: object) -> str:
    return hashlib.sha256("\0".join(map(str, (seed, *what))).encode()).hexdigest()


BASE = {"from": "teacher"}


def source(composed) -> None:
    rows, summary = composed({"from": "gold"})
    assert [(row["qid"], row["target"], row["completion_id"]) for row in rows] == [
        (qid, f"worked {qid} --> g", None) for qid in QUESTIONS
    ]
    assert summary["samples_used"] == 0


def keep(composed) -> None:
    rows, summary = composed({**BASE, "keep": "all"})
    assert names(rows) == {f"{qid}{n}" for qid in QUESTIONS for n in range(4)} - {"qa3"}
    assert summary["sources"]["mine"]["dropped"] == {"truncated": 1}


def grader(composed) -> None:
    assert names(composed({**BASE, "grader": "paper"})[0]) == RIGHT | {"qd2"}


def truncated(composed) -> None:
    assert names(composed({**BASE, "truncated": "keep"})[0]) == RIGHT | {"qa3"}


def degree(composed) -> None:
    rows, summary = composed({**BASE, "degree": 2})
    assert names(rows) == {"qa0", "qb1", "qc0"} and summary["sources"]["mine"]["looked_at"] == 8


def per_question(composed) -> None:
    right = {"qa": (0, 2), "qb": (1, 2, 3), "qc": (0,)}
    seen = set()
    for seed in range(6):
        expected = {
            f"{qid}{min(indices, key=lambda n, q=qid: draw(seed, 'mine', q, n))}" for qid, indices in right.items()
        }
        rows, summary = composed({**BASE, "per_question": 1}, seed)
        assert names(rows) == expected and summary["sources"]["mine"]["dropped"]["over the cap"] == 3
        seen.add(frozenset(expected))
    assert len(seen) > 2, "another seed keeps others"


def share(composed) -> None:
    """0.4 of four questions are two: a part of a question is a whole one."""
    seen = set()
    for seed in range(6):
        used = sorted(QUESTIONS, key=lambda qid: draw(seed, "share", qid, 0))[:2]
        rows, summary = composed({**BASE, "share": 0.4}, seed)
        assert names(rows) == {name for name in RIGHT if name[:2] in used}
        assert summary["sources"]["mine"]["questions"] == 2
        seen.add(frozenset(used))
    assert len(seen) > 2, "another seed takes other questions"


def unique(composed) -> None:
    rows, summary = composed({**BASE, "unique": True})
    assert names(rows) == RIGHT - {"qa2"} and summary["sources"]["mine"]["dropped"]["repeated"] == 1


def taught(composed) -> None:
    """The texts have no thinking but that of qc0, which `<think>` marks."""
    thought = {**TEXTS, "qc": [("<think>c</think>0", 1, 1, "stop"), *TEXTS["qc"][1:]]}
    for value, rationale in {"reasoning": "c", "answer": "0", "both": "<think>\nc\n</think>\n\n0"}.items():
        rows, _ = composed({**BASE, "taught": value}, texts=thought)
        assert [row["target"] for row in rows] == [
            f"{text} --> g" for text in ("a0", "a0", "b1", "b2", "b3", rationale)
        ]


WITH_ERRORS = {"from": "programs", "inject": ["name_error", "syntax_error"]}


def inject(composed) -> None:
    """A row for each program that is kept: the wrong version and its error in, the right one out."""
    rows, _ = composed({**WITH_ERRORS, "inject": ["name_error"]}, form="program")
    assert names(rows) == RIGHT
    for row in rows:
        _, wrong, feedback = row["prompt"].split("|")
        assert wrong != row["target"] and "NameError" in feedback and row["target"].startswith("def solution")
    other, _ = composed({**WITH_ERRORS, "inject": ["syntax_error"]}, form="program")
    kinds = ("SyntaxError:", "IndentationError:")
    assert all(any(kind in row["prompt"] for kind in kinds) for row in other) and names(other) == RIGHT


def injection(composed) -> None:
    """The released code gives no feedback, and does not check that the error is raised."""
    rows, _ = composed({**WITH_ERRORS, "inject": ["name_error"], "injection": "paper"}, form="program")
    assert names(rows) == RIGHT and all(row["prompt"].endswith("|") for row in rows)


def injections(composed) -> None:
    one, _ = composed({**WITH_ERRORS, "injections": 1}, seed=3, form="program")
    two, _ = composed({**WITH_ERRORS, "injections": 2}, seed=3, form="program")
    kinds = [["NameError" in row["prompt"] for row in rows] for rows in (one, two)]
    assert (len(one), len(two)) == (6, 12) and sum(kinds[1]) == 6
    assert 0 < sum(kinds[0]) < 6, "which of the two classes is drawn for each program"
    drawn = ["name_error" if name else "syntax_error" for name in kinds[0]]
    for row, kind in zip(one, drawn, strict=True):
        wanted = min(WITH_ERRORS["inject"], key=lambda c: draw(3, f"inject {c}", row["completion_id"], 0))
        assert kind == wanted


CASES = {
    case.__name__: case
    for case in (
        *(source, keep, grader, truncated, degree, per_question, share, taught, unique, inject, injection, injections),
    )
}


def test_every_field_has_a_case():
    assert set(CASES) == set(Rows.model_fields)


def test_right_completions_are_rows_with_the_gold_answer(composed):
    rows, summary = composed(BASE)
    assert names(rows) == RIGHT
    assert {row["target"] for row in rows if row["qid"] == "qa"} == {"a0 --> g"}
    assert {row["prompt"] for row in rows} == {"What is qa?", "What is qb?", "What is qc?"}
    assert summary["sources"]["mine"]["dropped"] == {"truncated": 1, "wrong": 9}
    assert (summary["samples_used"], summary["training_rows"]) == (16, 6)


@pytest.mark.parametrize("field", CASES)
def test_a_field_changes_what_it_says(composed, field):
    CASES[field](composed)
