"""Local data: each row of a file becomes a question with its text, or the file is refused by name and line."""

import csv
import json
import re

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from distillery.config.task import Task
from distillery.errors import UserError
from distillery.peer_review.released import mapd_exchange
from distillery.records import Question, read_records, write_records
from distillery.tasks.local_files import read_rows
from distillery.tasks.questions import build_task
from distillery.tasks.released.fine_tune_cot import fine_tune_cot_completions, fine_tune_cot_questions
from distillery.tasks.released.mentor_kd import mentor_kd_completions, mentor_kd_questions
from distillery.tasks.released.pad import pad_completions, pad_questions, pad_recorded_outputs

pytestmark = pytest.mark.reliability("data-file")

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)
HEADER = "question,gold\n"


def task_of(name: str, **source) -> Task:
    source = {"kind": "file", "files": {"train": name, "test": "test.jsonl"}, **source}
    return Task.model_validate({"task": "filed", "title": "Filed", "answer": "text", "source": source})


def built(folder, name: str, content: bytes, **source):
    (folder / name).write_bytes(content)
    (folder / "test.jsonl").write_text('{"question": "Else?", "gold": "no", "id": "t"}\n')
    return build_task(task_of(name, **source), folder)


def fault(read) -> str | None:
    """What is refused in words, if anything is."""
    try:
        read()
    except UserError as error:
        return str(error)
    return None


def refusal(folder, name: str, content: bytes, **source) -> str:
    with pytest.raises(UserError) as refused:
        built(folder, name, content, **source)
    return str(refused.value)


@pytest.mark.reliability("data-file", cases=100)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4), st.sampled_from(["csv", "jsonl", "json"]))
def test_a_row_of_any_text_is_one_question_and_its_record_is_read_again(tmp_path_factory, rows, suffix):
    folder = tmp_path_factory.getbasetemp()
    fields = [{"question": question, "gold": gold} for question, gold in rows]
    path = folder / f"any.{suffix}"
    with open(path, "w", encoding="utf-8-sig", newline="") as out:
        if suffix == "csv":
            lines = csv.DictWriter(out, ["question", "gold"], quoting=csv.QUOTE_ALL)
            lines.writeheader()
            lines.writerows(fields)
        elif suffix == "json":
            json.dump(fields, out)
        else:
            out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in fields)
    if any(text.strip() == "None" for row in rows for text in row):
        return
    made = built(folder, path.name, path.read_bytes()).train
    assert [(question.question, question.gold) for question in made] == [(q.strip(), g.strip()) for q, g in rows]
    write_records(folder / "made.jsonl", made)
    assert list(read_records(folder / "made.jsonl", Question)) == made


@pytest.mark.reliability("data-file", cases=100)
@given(
    st.sampled_from(["csv", "jsonl", "json", "parquet"]),
    st.binary(max_size=80) | st.text('{}[]",:\n\rquestiongold1e9\\ud8', max_size=80).map(str.encode),
)
def test_bytes_of_any_kind_become_questions_or_an_error_that_names_the_file(tmp_path_factory, suffix, content):
    name = f"odd.{suffix}"
    said = fault(lambda: built(tmp_path_factory.getbasetemp(), name, content))
    assert said is None or name in said or "config/tasks/filed.yaml" in said


FAULTS = {
    "an array in JSON lines": ("x.jsonl", '[{"question": "a", "gold": "b"}]', "x.jsonl:1: not a JSON object"),
    "an array over lines": ("x.jsonl", "[\n{}]", "x.jsonl:1: not valid JSON.*an array belongs into a .json file"),
    "JSON lines in JSON": ("x.json", "{}\n{}", "x.json:2: not valid JSON.*is named .jsonl"),
    "an object that holds no array": ("x.json", '{"rows": []}', "x.json: neither a JSON array nor"),
    "a row that is no object": ("x.json", "[[]]", "x.json: row 0: not a JSON object"),
    "an empty JSON file": ("x.json", "", "x.json:1: not valid JSON"),
    "an empty CSV file": ("x.csv", "", "x.csv:1: no header"),
    "an empty file of lines": ("x.jsonl", "\n\n", "the source has no train questions"),
    "a header only": ("x.csv", HEADER, "the source has no train questions"),
    "a null question": (
        "x.jsonl",
        '{"question": null, "gold": "b"}',
        "row 0: question: the question is empty",
    ),
    "an index of pandas": ("x.csv", ",question,gold\n0,a,b\n", "x.csv:1: column 1 has no name"),
    "an id that is a list": (
        "x.jsonl",
        '{"question": "a", "gold": "b", "id": [1]}',
        "an id is a text or a whole",
    ),
    "another kind": ("x.jsonl.gz", "", "unknown kind of file"),
    "no Parquet": ("x.parquet", "PAR1", "x.parquet: cannot be read"),
}


@pytest.mark.parametrize(("name", "content", "words"), FAULTS.values(), ids=FAULTS)
def test_a_file_that_is_not_what_it_says_is_refused(name, content, words, tmp_path):
    source = {"id_field": "id"} if '"id"' in content else {}
    assert re.search(words, refusal(tmp_path, name, content.encode(), **source))


def bomb(kind: str) -> pyarrow.Table:
    same = pyarrow.array([0] * 2000, pyarrow.int32())
    many = pyarrow.DictionaryArray.from_arrays(same, pyarrow.array(["x" * 10**6]))
    if kind == "in a list":
        ends = pyarrow.array([0, 2000], pyarrow.int32())
        return pyarrow.table({"question": pyarrow.ListArray.from_arrays(ends, many)})
    if kind == "in an object":
        return pyarrow.table({"question": pyarrow.StructArray.from_arrays([many], ["text"])})
    if kind == "of nulls":
        return pyarrow.table({"question": pyarrow.array([None] * 3_000_000, pyarrow.null())})
    return pyarrow.table({"question": many})


@pytest.mark.parametrize("kind", ["of texts", "in a list", "in an object", "of nulls"])
def test_a_small_parquet_file_that_stands_for_gigabytes_is_refused(kind, tmp_path):
    parquet.write_table(bomb(kind), tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").stat().st_size < 100_000
    with pytest.raises(UserError, match="bytes when decoded"):
        read_rows(tmp_path / "x.parquet", "x.parquet")


def test_values_of_parquet_are_those_that_were_written(tmp_path):
    rows = [
        {"question": "a\u2028b", "n": 1, "l": ["x", None], "s": {"t": "y"}},
        {"question": None, "n": 2, "l": [], "s": None},
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert read_rows(tmp_path / "x.parquet", "x.parquet") == rows


def test_a_row_number_is_a_whole_number(tmp_path):
    (tmp_path / "split.json").write_text('{"train": [true], "test": [0]}')
    rows = b'[{"question": "a", "gold": "b"}, {"question": "c", "gold": "d"}]'
    text = refusal(tmp_path, "x.json", rows, files={"all": "x.json"}, split_file="split.json")
    assert "split.json: train = True: no such row" in text


QUESTIONS = [Question(qid="t-train-00000", task="t", question="a", gold="b", meta={"row": 0})]
RELEASED = {
    "fine-tune-cot": lambda path: fine_tune_cot_completions(path, QUESTIONS, "s"),
    "its data set": lambda path: fine_tune_cot_questions("t", path, path),
    "mentor-kd": lambda path: mentor_kd_completions(path, QUESTIONS, "s"),
    "its data sets": lambda path: mentor_kd_questions("t", path, path),
    "pad": lambda path: pad_completions(path, QUESTIONS, "s"),
    "its questions": lambda path: pad_questions(path, "t", "test", 0),
    "its outputs": pad_recorded_outputs,
    "mapd": lambda path: mapd_exchange(path.parent, "t", stem="D_t", checked=False),
}
KEYS = re.findall(
    r"\S+",
    "data metadata dataset_key train input output chain question answer code choices id gold_answer gpt_rationale "
    "student_wrong_pred num_answer 0",
)
ODD = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@pytest.mark.reliability("data-file", cases=100)
@given(st.sampled_from(sorted(RELEASED)), ODD, st.booleans())
def test_a_released_file_of_any_layout_is_read_or_refused_by_name(tmp_path_factory, reader, content, half):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "D_t.json"
    text = json.dumps(content)
    for name in ("D_t.json", "D_t_false_round0.json", "D_t_feedback_round0.json", "D_t_rationale_round0.json"):
        (folder / name).write_text(text[: len(text) // 2] if half else text)
    said = fault(lambda: RELEASED[reader](path))
    assert said is None or "D_t" in said
