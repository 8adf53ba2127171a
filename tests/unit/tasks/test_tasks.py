"""Tasks: generated questions are reproducible, right and separate; faults in task files are refused by name."""

import dataclasses
import json
import re
import sys
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from distillery.config.task import Task
from distillery.errors import UserError
from distillery.tasks.generators import GENERATORS, Draw, draw_questions, pool_of
from distillery.tasks.generators.names import TEST_NAMES, TRAIN_NAMES
from distillery.tasks.generators.stories import STORIES
from distillery.tasks.questions import TaskData, _compile, build_task, summarise
from distillery.verification.gold_check import check_gold, random_guess

from ..imports import loaded

CONFIG = Path(__file__).parents[3] / "config" / "tasks"
SHIPPED = [path.stem for path in CONFIG.glob("*.yaml") if "generator:" in path.read_text(encoding="utf-8")]
POOLS = ("train", "dev", "exemplar", "test")
NAME = re.compile(rf"\b(?:{'|'.join(TRAIN_NAMES + TEST_NAMES)})\b")


def without_names(text: str) -> str:
    """The text with each name replaced by a number: the first person is P0 wherever it acts."""
    order = {name: f"P{number}" for number, name in enumerate(dict.fromkeys(NAME.findall(text)))}
    return NAME.sub(lambda found: order[found[0]], text)


def shipped(name: str) -> Task:
    return Task.model_validate(yaml.safe_load((CONFIG / f"{name}.yaml").read_text(encoding="utf-8")))


def generated(generator="arithmetic", answer="number", **changes) -> Task:
    source = {"kind": "generator", "generator": generator, "options": changes.pop("options", {})}
    sizes = {"train": 20, "dev": 5, "test": 20}
    return Task.model_validate(
        {"task": "made", "title": "Made", "answer": answer, "source": source, "sizes": sizes, **changes}
    )


def from_files(root: Path, train: list[dict], test: list[dict], **changes) -> Task:
    for split, rows in {"train": train, "test": test}.items():
        (root / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    source = {"kind": "file", "files": {"train": "train.jsonl", "test": "test.jsonl"}, **changes.pop("source", {})}
    return Task.model_validate({"task": "filed", "title": "Filed", "answer": "number", "source": source, **changes})


def sums(first: int, count: int) -> list[dict]:
    return [{"question": f"What is {n} + 1?", "gold": str(n + 1)} for n in range(first, first + count)]


def message(task: Task, root: Path = Path(".")) -> str:
    with pytest.raises(UserError) as caught:
        check_all(task, build_task(task, root))
    return str(caught.value)


def check_all(task: Task, data: TaskData) -> None:
    """What the workflow asks of gold answers before it samples."""
    check_gold(task, data.train + data.dev + data.test, [dataclasses.asdict(exemplar) for exemplar in data.exemplars])


# Generators


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("pool", POOLS)
def test_asking_for_more_keeps_the_earlier_questions(generator, pool):
    assert draw_questions(generator, "0", pool, 30, {})[:10] == draw_questions(generator, "0", pool, 10, {})


@pytest.mark.parametrize("generator", GENERATORS)
def test_another_seed_gives_other_questions(generator):
    one, other = (draw_questions(generator, seed, "train", 10, {}) for seed in ("0", "1"))
    assert not {drawn.question for drawn in one} & {drawn.question for drawn in other}


@pytest.mark.parametrize("name", SHIPPED)
def test_no_question_is_asked_twice_and_no_test_question_differs_from_train_by_names_only(name):
    data = build_task(shipped(name))
    texts = [question.question for question in data.train + data.dev + data.test]
    texts += [exemplar.question for exemplar in data.exemplars]
    assert len(set(texts)) == len(texts)
    if name in {"arithmetic", "shuffled_objects"}:  # in the others the names are the question
        test = {without_names(question.question) for question in data.test}
        assert not test & {without_names(question.question) for question in data.train + data.dev}


@pytest.mark.parametrize("generator", GENERATORS)
def test_test_questions_know_other_people_than_all_the_rest(generator):
    people = {
        pool: {name for drawn in draw_questions(generator, "0", pool, 60, {}) for name in NAME.findall(drawn.question)}
        for pool in ("train", "test")
    }
    assert people["train"]
    assert people["train"] <= set(TRAIN_NAMES)
    assert people["test"] <= set(TEST_NAMES)
    assert not set(TRAIN_NAMES) & set(TEST_NAMES)


def test_arithmetic_keeps_a_wording_of_every_template_for_the_test_split():
    seen = {
        pool: {
            (drawn.meta["template"], drawn.meta["wording"])
            for drawn in draw_questions("arithmetic", "0", pool, 400, {})
        }
        for pool in ("train", "test")
    }
    assert {(story.name, len(story.wordings) - 1) for story in STORIES} <= seen["test"] - seen["train"]
    assert {name for name, _ in seen["train"]} == {story.name for story in STORIES}


def test_fewer_wordings_and_templates_make_an_easier_task():
    options = {"templates": ["gain", "more_than"], "wordings": 1, "max_number": 10}
    drawn = draw_questions("arithmetic", "0", "train", 60, options)
    assert {(question.meta["template"], question.meta["wording"]) for question in drawn} == {
        ("gain", 0),
        ("more_than", 0),
    }
    assert max(int(number) for question in drawn for number in re.findall(r"\d+", question.question)) == 10


def test_every_wording_shows_every_number_so_that_questions_can_be_answered():
    for story in STORIES:
        for wording in story.wordings:
            assert all(f"{{{number}}}" in wording for number in story.numbers), (story.name, wording)


def test_arithmetic_rationales_are_true_equations_that_end_at_the_gold_answer():
    for drawn in draw_questions("arithmetic", "0", "train", 300, {}):
        equations = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", drawn.rationale)
        assert len(equations) == drawn.meta["steps"]
        signs = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": lambda a, b: a / b}
        assert all(signs[sign](int(a), int(b)) == int(result) for a, sign, b, result in equations)
        assert equations[-1][-1] == drawn.gold
        assert drawn.rationale.isascii()
        assert "\n" not in drawn.rationale
        assert "-->" not in drawn.rationale


def test_last_letters_are_those_of_the_names():
    for drawn in draw_questions("last_letter", "0", "test", 50, {"words": 3}):
        names = re.search(r'"(.*)"', drawn.question)[1].split()
        assert (len(names), drawn.gold) == (3, "".join(name[-1] for name in names))


def test_the_coin_is_heads_up_after_an_even_number_of_flips():
    for drawn in draw_questions("coin_flip", "0", "test", 50, {"people": 5}):
        flips = drawn.question.count(" flips the coin.")
        assert flips + drawn.question.count(" does not flip the coin.") == 5
        assert drawn.gold == ("yes" if flips % 2 == 0 else "no")


def test_swaps_played_through_give_the_gold_choice():
    for drawn in draw_questions("shuffled_objects", "0", "test", 60, {"swaps": 4}):
        has = dict(re.findall(r"(\w+) has the (\w+)", drawn.question))
        swaps = re.findall(r"(?:First|Then|Finally), (\w+) and (\w+)", drawn.question)
        assert len(swaps) == 4
        for one, other in swaps:
            has[one], has[other] = has[other], has[one]
        asked = re.search(r"does (\w+) have\?", drawn.question)[1]
        assert dict(re.findall(r"\((\w)\) (\w+)", drawn.question))[drawn.gold] == has[asked]


def test_the_gold_choices_are_balanced():
    golds = [drawn.gold for drawn in draw_questions("shuffled_objects", "0", "train", 300, {})]
    assert all(70 <= golds.count(letter) <= 130 for letter in "ABC")


def test_every_identity_belongs_to_one_pool_and_every_pool_has_its_share():
    pools = [pool_of(str(number)) for number in range(2000)]
    assert {pool: round(pools.count(pool) / 2000, 1) for pool in POOLS} == {
        "train": 0.4,
        "dev": pytest.approx(0.15, abs=0.06),
        "exemplar": 0.1,
        "test": pytest.approx(0.35, abs=0.06),
    }


def test_draws_do_not_depend_on_the_version_of_python():
    draw = Draw(3, 0, seed="0", pool="train", turn=3)
    assert [draw.below(1000) for _ in range(4)] == [414, 18, 88, 159]


# build_task


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_generated_tasks_pass_their_own_checks(name):
    task = shipped(name)
    data = build_task(task)
    check_all(task, data)
    summary = summarise(task, data)
    assert summary["counts"] == {"train": task.sizes.train, "dev": task.sizes.dev, "test": task.sizes.test}
    assert (summary["test_questions_in_train"], len(data.exemplars)) == (0, task.exemplars.count)
    assert data.train[12].qid == f"{name}-train-00012"
    expected = {"number": 0, "letters": 0, "yes-no": 1 / 2, "choice": 1 / 3, "text": None}[task.answer]
    assert random_guess(task, data.test) == pytest.approx(expected)


def test_a_larger_train_split_leaves_dev_and_test_alone():
    small, large = (build_task(generated(sizes={"train": n, "dev": 5, "test": 9})) for n in (10, 40))
    assert (small.dev, small.test) == (large.dev, large.test)
    assert large.train[:10] == small.train


def test_dev_is_held_out_of_train_and_does_not_move_with_the_sizes(tmp_path):
    task = from_files(tmp_path, sums(0, 50), sums(100, 5), sizes={"dev": 10})
    data = build_task(task, tmp_path)
    assert (len(data.train), len(data.dev), len(data.test)) == (40, 10, 5)
    assert not {question.qid for question in data.dev} & {question.qid for question in data.train}
    smaller = build_task(task.model_copy(update={"sizes": type(task.sizes)(train=8, dev=4)}), tmp_path)
    assert {question.qid for question in smaller.dev} < {question.qid for question in data.dev}
    assert len(smaller.train) == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"options": {"step": [1]}},
            "source.options.step = [1]: no such option. There are templates, steps, max_number, wordings",
        ),
        ({"options": {"steps": [4]}}, "source.options.steps = [4]: not a list of step counts"),
        ({"options": {"templates": ["gain", "lost"]}}, "source.options.templates = ['gain', 'lost']"),
        (
            {"generator": "coin_flip", "options": {"people": 0}},
            "source.options.people = 0: not a whole number in range",
        ),
        (
            {"generator": "last_letter", "options": {"words": 1}, "sizes": {"train": 99, "test": 5}},
            "sizes.train = 99: with",
        ),
        ({"sizes": {"train": 9}}, "sizes.test: a generator has no end"),
        ({"question": "{{ story }}"}, "the template fails at arithmetic: question 0 of train: 'story' is undefined"),
        ({"question": "{{ question"}, "question = '{{ question': not a Jinja template"),
        ({"question": "{{ template }}"}, "asks the same as made-test-"),
        ({"gold": "{{ gold }} apples"}, "does not pass its own grader: `paper` reads"),
        ({"answer": "choice"}, "does not pass its own grader: `robust` reads None"),
    ],
)
def test_faults_of_a_generated_task_name_file_key_and_value(changes, words):
    text = message(generated(**changes))
    assert "config/tasks/made.yaml" in text
    assert words in text


def test_an_exemplar_of_the_test_split_is_refused():
    asked = build_task(generated()).test[3]
    written = [{"question": asked.question, "rationale": "It is so.", "gold": asked.gold}]
    text = message(generated(exemplars={"written": written}))
    assert "exemplars.written.0.question" in text
    assert f"is in the test split, as {asked.qid}" in text


@pytest.mark.parametrize(
    ("train", "changes", "words"),
    [
        ([{"question": "Why?"}], {}, "the template fails at train.jsonl: row 0: 'gold' is undefined"),
        ([{"question": "Why?", "gold": " "}], {}, "train.jsonl: row 0: gold: the gold is empty"),
        ([{"question": "Why?", "gold": None}], {}, "train.jsonl: row 0: gold: the gold is empty"),
        ([{"question": "Why?", "gold": "five"}], {}, "`robust` cannot use it"),
        (
            [{"id": "a", **row} for row in sums(0, 2)],
            {"source": {"id_field": "id"}},
            "2 questions have the id filed-train-a",
        ),
        (sums(0, 2), {"source": {"id_field": "id"}}, "train.jsonl: row 0: no field 'id'"),
        (sums(0, 2), {"sizes": {"train": 3}}, "sizes.train = 3: the source has only 2"),
        (sums(0, 2), {"sizes": {"dev": 2}}, "sizes.dev = 2: train, of which it is a part, has only 2"),
        (sums(0, 2), {"exemplars": {"count": 2}}, "exemplars.count = 2: only the project's own generators"),
        ([], {}, "the source has no train questions"),
    ],
)
def test_faults_of_local_data_name_the_row(tmp_path, train, changes, words):
    fields = [{"id": f"t{n}", **row} for n, row in enumerate(sums(50, 3))]
    assert words in message(from_files(tmp_path, train, fields, **changes), tmp_path)


def test_several_faults_are_told_at_once(tmp_path):
    text = message(from_files(tmp_path, [{"question": "Why?"}] * 30, [{"gold": "5"}]), tmp_path)
    assert len(text.splitlines()) == 11
    assert "... and 21 more faults" in text


def test_overlaps_of_real_splits_are_reported_not_refused(tmp_path):
    task = from_files(tmp_path, sums(0, 5) + sums(0, 1), sums(3, 4))
    summary = summarise(task, build_task(task, tmp_path))
    assert (summary["test_questions_in_train"], summary["duplicate_questions"]["train"]) == (2, 1)


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "parquet"])
def test_every_kind_of_file_gives_the_same_questions(tmp_path, suffix):
    rows = sums(0, 4)
    path = tmp_path / f"all.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps({"data": rows}), encoding="utf-8")
    elif suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    elif suffix == "csv":
        path.write_text(
            "question,gold\n" + "".join(f"{row['question']},{row['gold']}\n" for row in rows), encoding="utf-8"
        )
    else:
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(rows), path)
    (tmp_path / "split.json").write_text('{"train": [0, 2], "test": [3]}', encoding="utf-8")
    task = from_files(tmp_path, [], [], source={"files": {"all": path.name}, "split_file": "split.json"})
    data = build_task(task, tmp_path)
    assert [(q.qid, q.question) for q in data.train + data.test] == [
        ("filed-train-00000", "What is 0 + 1?"),
        ("filed-train-00002", "What is 2 + 1?"),
        ("filed-test-00003", "What is 3 + 1?"),
    ]


def test_a_row_in_both_splits_is_refused(tmp_path):
    (tmp_path / "all.json").write_text(json.dumps(sums(0, 2)), encoding="utf-8")
    (tmp_path / "split.json").write_text('{"train": [0, 7], "test": [0]}', encoding="utf-8")
    task = from_files(tmp_path, [], [], source={"files": {"all": "all.json"}, "split_file": "split.json"})
    text = message(task, tmp_path)
    assert "split.json: train = 7: no such row" in text
    assert "split.json: test = 0: the row is in train already" in text


def test_a_source_whose_package_is_absent_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    task = generated()
    source = {"kind": "reasoning-gym", "dataset": "chain_sum"}
    assert "pip install reasoning-gym" in message(Task.model_validate({**task.model_dump(), "source": source}))


def test_questions_of_reasoning_gym_stand_in_one_split_once(monkeypatch):
    class Stub:  # makes 40 different questions whatever the seed, as its small generators do
        @staticmethod
        def create_dataset(name, size, seed, **options):
            numbers = [(seed + index) % 40 for index in range(size)]
            return [{"question": f"{name} {n}?", "answer": str(n), "metadata": {}} for n in numbers]

    monkeypatch.setitem(sys.modules, "reasoning_gym", Stub)
    base = generated().model_dump()
    task = Task.model_validate({**base, "source": {"kind": "reasoning-gym", "dataset": "count"}})
    data = build_task(task.model_copy(update={"sizes": type(task.sizes)(train=20, dev=5, test=15)}))
    assert len({question.question for question in data.train + data.dev + data.test}) == 40
    assert "sizes.train = 20: the source has only 15" in message(task)


def test_templates_of_the_gsm8k_file_read_its_layout():  # a made-up row: no test loads from the Hub
    task = shipped("gsm8k")
    row = {"question": "How many?", "answer": "He has 48/2 = <<48/2=24>>24 clips.\nIn all <<24+1=25>>25.\n#### 1,025"}
    rendered = {key: template.render(row).strip() for key, template in _compile(task).items()}
    assert rendered["gold"] == "1,025"
    assert rendered["rationale"] == "He has 48/2 = 24 clips.\nIn all 25."


def test_tasks_load_no_heavy_library():
    modules = "distillery.tasks.questions, distillery.tasks.released.fine_tune_cot, distillery.tasks.released.mentor_kd"
    assert loaded(modules, "torch", "pandas", "datasets", "pyarrow", "numpy") == []


def test_pools_of_one_generator_never_meet():
    drawn = {
        pool: {question.identity for question in draw_questions("coin_flip", "0", pool, 50, {"people": 2})}
        for pool in POOLS
    }
    assert not any(drawn[one] & drawn[other] for one, other in combinations(POOLS, 2))


ANSWER_TYPES = {"arithmetic": "number", "coin_flip": "yes-no", "last_letter": "letters", "shuffled_objects": "choice"}


@pytest.mark.parametrize("generator", ["arithmetic", "coin_flip", "last_letter", "shuffled_objects", "dates"])
def test_the_program_of_every_exemplar_runs_in_the_sandbox_and_returns_the_gold_answer(generator):
    from distillery.programs.matching import judge
    from distillery.programs.run import run_programs

    drawn = draw_questions(generator, "0", "exemplar", 40, {})
    runs, _ = run_programs([question.program for question in drawn])
    answer = ANSWER_TYPES.get(generator, "text")
    assert all(
        judge(run, question.gold, answer) == {"paper": True, "strict": True}
        for question, run in zip(drawn, runs, strict=True)
    )
