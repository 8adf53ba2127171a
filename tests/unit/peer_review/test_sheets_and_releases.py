"""Sheets of people and a released exchange: whole records, and every fault with its line, key, value and remedy."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from distillery.errors import UserError, UserErrors
from distillery.peer_review import released
from distillery.peer_review.assignments import assignments
from distillery.peer_review.human_sheets import read_sheet, write_sheet
from distillery.peer_review.records import Mistake
from distillery.peer_review.released import as_task, golden, mapd_exchange, mapd_mistakes
from distillery.records import Completion, Question

RESTORE = "Write the sheet again, and copy the scores into it"
TODO, _ = assignments(
    [
        Completion(completion_id=f"r{n}", qid=f"q{n}", sampler="anna", sample_index=0, text=text, finish_reason="stop",
                   prompt_tokens=0, completion_tokens=0)
        for n, text in enumerate(["=1+1", 'so "2",\nor ü'])
    ],
    {"anna": ("jo", "mia")},
)  # fmt: skip
MISTAKES = [
    Mistake(qid=f"q{n}", question=f"{n} + 1?", gold="-7", text="9", answer="9", kind="wrong", completion_id=None)
    for n in range(2)
]


def test_a_sheet_has_these_fields_and_no_formula(tmp_path):
    assert write_sheet(TODO, MISTAKES, tmp_path / "a.jsonl", reviewer="jo") == 2
    text = (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    rows = sorted(map(json.loads, text.splitlines()), key=lambda row: row["rationale_id"])
    assert rows == [
        {"rationale_id": "r0", "question": "0 + 1?", "hint": "-7", "rationale": "=1+1", "score": "", "note": ""},
        {"rationale_id": "r1", "question": "1 + 1?", "hint": "-7", "rationale": 'so "2",\nor ü', "score": "",
         "note": ""},
    ]  # fmt: skip
    assert "ü" in text
    assert write_sheet(TODO, MISTAKES, tmp_path / "a.csv", reviewer="mia", hint=False) == 2
    lines = (tmp_path / "a.csv").read_text(encoding="utf-8")
    assert lines.startswith("rationale_id,question,hint,rationale,score,note\n")
    assert "r0,0 + 1?,,'=1+1,,\n" in lines and 'r1,1 + 1?,,"so ""2"",\nor ü",,\n' in lines
    write_sheet(TODO, MISTAKES, tmp_path / "b.csv", reviewer="mia")
    assert "r0,0 + 1?,'-7,'=1+1,,\n" in (tmp_path / "b.csv").read_text(encoding="utf-8")


def test_the_seed_decides_the_order_of_a_sheet(tmp_path):
    many, _ = assignments(
        [TODO[0].rationale.model_copy(update={"completion_id": f"r{n}", "qid": "q0"}) for n in range(20)],
        {"anna": ("jo",)},
    )

    def order(**seed):
        write_sheet(many, MISTAKES, tmp_path / "a.jsonl", reviewer="jo", **seed)
        return re.findall(r'"rationale_id": "(r\d+)"', (tmp_path / "a.jsonl").read_text())

    assert order() == order(seed=0) != order(seed=1) and sorted(order()) == sorted(order(seed=1))


def test_a_sheet_that_cannot_be_written_says_why(tmp_path):
    for given, path, fault in [
        (MISTAKES[:1], "a.csv", ("a rationale for a question that is not among the mistakes", "qid", "q1")),
        (MISTAKES, "a.txt", ("a sheet is .csv or .jsonl", "suffix", ".txt")),
    ]:
        with pytest.raises(UserError) as caught:
            write_sheet(TODO, given, tmp_path / path, reviewer="jo")
        assert (caught.value.problem, caught.value.key, caught.value.value) == fault


def test_a_filled_sheet_gives_whole_records_in_the_order_of_the_assignments(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"rationale_id": " r1 ", "score": null}\n{"rationale_id": "r0", "score": 4, "more": 1}\n')
    common = {
        "author": "anna", "reviewer": "jo", "review_id": None, "sample_index": 0, "protocol": "sheet", "expected": None,
    }  # fmt: skip
    first, second = [review.model_dump() for review in read_sheet(path, TODO, reviewer="jo")]
    assert first.pop("path") == second.pop("path") != ""
    assert first == {**common, "qid": "q0", "rationale_id": "r0", "score": 4, "raw": "4", "reason": None}
    assert second == {
        **common, "qid": "q1", "rationale_id": "r1", "score": None, "raw": None, "reason": "left blank",
    }  # fmt: skip


def test_every_fault_of_a_filled_sheet_is_reported_with_its_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("rationale_id;score\nr0;6\nr9;4\n;\n\nr0;4\n")
    with pytest.raises(UserErrors) as caught:
        read_sheet(path, TODO, reviewer="jo")
    other = "not a rationale of this reviewer's sheet"
    assert [(fault.problem, fault.key, fault.value, fault.remedy) for fault in caught.value.errors] == [
        ("not a whole number from 1 to 5", "line 2, score", "6", "Write such a number, or leave the field blank"),
        (other, "line 3, rationale_id", "r9", RESTORE),
        (other, "line 6, rationale_id", "r0", RESTORE),
        ("the sheet lacks a rationale", "rationale_id", "r1", RESTORE),
    ]  # fmt: skip
    assert {fault.file for fault in caught.value.errors} == {path}
    path.write_text("rationale_id,score\nr0,4\nr0,5\nr1,\n")
    with pytest.raises(UserErrors) as caught:
        read_sheet(path, TODO, reviewer="jo")
    assert [(fault.problem, fault.key, fault.remedy) for fault in caught.value.errors] == [
        ("this rationale has two rows", "line 3, rationale_id", "Keep one of them"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "problem", "line", "remedy"),
    [
        ("a.csv", b"\xff\xfe", "not a UTF-8 text: it is UTF-16", None, "Save it as text in UTF-8"),
        ("a.csv", b"a,b\nr0,4\n", "the header lacks rationale_id and score", 1, "Keep these columns and their names"),
        (
            "a.csv",
            b'rationale_id,score\nr0,"4',
            "the double quote that opens a field here is never closed",
            2,
            "Close or double it",
        ),
        ("a.jsonl", b"\n{", "not valid JSON: EOF while parsing an object, at column 1", 2, RESTORE),
        ("a.jsonl", b"[]", "not a JSON object", 1, RESTORE),
        ("a.jsonl", b"{}", "the row lacks rationale_id and score", 1, "Keep the columns"),
    ],
)
def test_a_file_that_is_no_sheet_says_where_and_what_to_do(name, content, problem, line, remedy, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_sheet(tmp_path / name, TODO, reviewer="jo")
    fault = caught.value
    assert (fault.problem, fault.line, fault.remedy, fault.file) == (problem, line, remedy, tmp_path / name)


@pytest.mark.parametrize(("reviewer", "todo"), [("zoe", TODO), ("jo", []), ("../jo", TODO)])
def test_a_reviewer_without_a_rationale_is_told_who_has_some(reviewer, todo, tmp_path):
    with pytest.raises(UserError) as caught:
        read_sheet(tmp_path / "a.csv", todo, reviewer=reviewer)
    fault = caught.value
    assert (fault.problem, fault.key, fault.value) == ("nothing is assigned to this reviewer", "reviewer", reviewer)
    assert fault.remedy == f"Reviewers are {'jo, mia' if todo else 'not assigned yet'}"


# A released exchange


def an_exchange(folder: Path) -> Path:
    base = [
        {"id": 3, "question": "Is it  4?", "gold_answer": "1,004.\tBecause.", "student_wrong_pred": "It is 9",
         "student_wrong_final_answer": "9"},
        {"id": 5, "question": "Why?", "gold_answer": "no", "student_wrong_pred": "Hm",
         "student_wrong_final_answer": "Absolute_wrong_final_ans"},
    ]  # fmt: skip
    names = ("gpt", "gemini", "mistral")
    said = {f"{name}_feedback": f"{name} says" for name in names}
    thought = {f"{name}_rationale": [f"{name} thinks", 5, score] for name, score in zip(names, (4, 0, 1), strict=True)}
    for kind, more in {
        "false": {}, "feedback": said, "rationale": {**thought, "correct_rationale": ["gpt thinks"]},
    }.items():  # fmt: skip
        (folder / f"tiny_{kind}_round0.json").write_text(json.dumps([{**row, **more} for row in base]))
    return folder


def exchange(folder: Path) -> released.Exchange:
    return mapd_exchange(an_exchange(folder), "tiny", stem="tiny", checked=False)


def test_an_exchange_is_whole_records_under_the_ids_of_its_task(tmp_path):
    found = exchange(tmp_path)
    fields = {"qid", "task", "question", "gold", "meta"}
    assert [question.model_dump(include=fields) for question in found.questions] == [
        {"qid": "tiny-train-00003", "task": "tiny", "question": "Is it  4?", "gold": "1,004",
         "meta": {"row": 3, "facts": "Because."}},
        {"qid": "tiny-train-00005", "task": "tiny", "question": "Why?", "gold": "no", "meta": {"row": 5}},
    ]  # fmt: skip
    assert [mistake.model_dump() for mistake in found.mistakes] == [
        {"qid": "tiny-train-00003", "question": "Is it  4?", "gold": "1,004", "text": "It is 9", "answer": "9",
         "kind": "wrong", "completion_id": None},
        {"qid": "tiny-train-00005", "question": "Why?", "gold": "no", "text": "Hm", "answer": None,
         "kind": "unparsable", "completion_id": None},
    ]  # fmt: skip
    known = json.dumps(["replay", "mapd", "feedback", "gemini", "tiny-train-00003", "gemini says"])
    assert found.feedback[1].model_dump() == {
        "completion_id": hashlib.sha256(known.encode()).hexdigest()[:32], "qid": "tiny-train-00003",
        "sampler": "gemini", "sample_index": 0, "text": "gemini says", "finish_reason": "stop", "prompt_tokens": 0,
        "completion_tokens": 0, "answer_text": None, "answer_id": None,
    }  # fmt: skip
    assert [(written.sampler, written.text) for written in found.rationales[:3]] == [
        ("gpt", "gpt thinks"), ("gemini", "gemini thinks"), ("mistral", "mistral thinks"),
    ]  # fmt: skip
    assert len({written.completion_id for written in [*found.feedback, *found.rationales]}) == 12
    review = found.reviews[1].model_dump()
    assert review.pop("rationale_id") == found.rationales[0].completion_id
    assert review == {
        "qid": "tiny-train-00003", "author": "gpt", "reviewer": "mistral", "review_id": None, "sample_index": 0,
        "protocol": "released", "score": 4, "expected": None, "raw": "4", "path": "released score", "reason": None,
    }  # fmt: skip
    assert (found.reviews[3].raw, found.reviews[3].reason) == ("0", "0 is outside 1 to 5")
    assert found.accepted == {found.rationales[0].completion_id, found.rationales[3].completion_id}


def test_the_counts_of_an_exchange_are_those_of_the_published_rule(tmp_path):
    assert golden(exchange(tmp_path)) == {
        "mistakes": 2, "unparsable": 1, "rationales": 6, "reviews": 12, "reviews_without_score": 2, "accepted": 4,
        "questions_with_accepted": 2, "accepted_per_question": {"2": 2}, "released_list_reproduced": False,
    }  # fmt: skip
    found = exchange(tmp_path)
    both = {written.completion_id for written in found.rationales if written.sampler in ("gpt", "gemini")}
    assert golden(found._replace(accepted=frozenset(both)))["released_list_reproduced"] is True


def test_an_exchange_moves_to_the_ids_of_a_task_that_writes_its_numbers_otherwise(tmp_path):
    found = exchange(tmp_path)
    own = [
        Question(qid="own-2", task="own", question=" is IT 4? ", gold="1004.0"),
        Question(qid="own-1", task="own", question="Why?", gold=" NO "),
    ]
    moved = as_task(found, own, Path("file.json"))
    ids = {"tiny-train-00003": "own-2", "tiny-train-00005": "own-1"}
    assert moved.questions == own and moved.accepted == found.accepted
    assert [(mistake.qid, mistake.question, mistake.gold, mistake.text) for mistake in moved.mistakes] == [
        ("own-2", " is IT 4? ", "1004.0", "It is 9"), ("own-1", "Why?", " NO ", "Hm"),
    ]  # fmt: skip
    for kind in ("feedback", "rationales", "reviews"):
        before, after = getattr(found, kind), getattr(moved, kind)
        assert after == [record.model_copy(update={"qid": ids[record.qid]}) for record in before]
    for lacking in (own[:1], [own[0], own[1].model_copy(update={"gold": "yes"})]):
        with pytest.raises(UserError) as caught:
            as_task(found, lacking, Path("file.json"))
        fault = caught.value
        assert fault.problem == "the task's train split lacks this question, or has another gold answer"
        assert (fault.file, fault.key, fault.value) == (Path("file.json"), "tiny-train-00005", "Why?")


def test_a_file_of_a_release_must_have_its_checksum(tmp_path, monkeypatch):
    path = an_exchange(tmp_path) / "tiny_false_round0.json"

    def fault() -> tuple:
        with pytest.raises(UserError) as caught:
            mapd_mistakes(path, "tiny")
        return caught.value.problem, caught.value.file, caught.value.key

    assert fault() == ("no checksum is known for this file", path, None)
    monkeypatch.setitem(released.SHA256, path.name, "0" * 64)
    assert fault() == ("not the released file: its checksum differs", path, "sha256")
    monkeypatch.setitem(released.SHA256, path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(mapd_mistakes(path, "tiny")[1]) == 2
