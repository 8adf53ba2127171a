"""Fine-tune-CoT's public teacher data under our graders gives the published numbers (specification section 8)."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from distillery.config.prompt import Prompt
from distillery.config.recipe import Rows
from distillery.config.task import Grader, Task
from distillery.errors import UserError
from distillery.records import Completion, Outcome, Question
from distillery.tasks.prompts import Renderer
from distillery.tasks.questions import build_task
from distillery.tasks.released.fine_tune_cot import fine_tune_cot_completions, fine_tune_cot_questions
from distillery.training.compose import compose
from distillery.training.sources.common import Sampled
from distillery.verification.gold_check import random_guess
from distillery.verification.graders import DEFAULT_GRADERS, grade
from distillery.verification.judge import Reading
from distillery.verification.verify import verify

NUMBER = Grader(candidates="number", compare="number")
STRING = DEFAULT_GRADERS["number"]["paper"]
RULES = {
    "single_eq": NUMBER,
    "addsub": NUMBER,
    "multiarith": STRING,
    "tracking_shuffled_objects": Grader(candidates="choice", letters="A-C"),
    "coin_flip": DEFAULT_GRADERS["yes-no"]["paper"],
}
SIZES = {
    "single_eq": (356, 152),
    "addsub": (276, 119),
    "multiarith": (420, 180),
    "svamp": (700, 300),
    "date_understanding": (258, 111),
    "tracking_shuffled_objects": (525, 225),
    "last_letter_concatenation": (350, 150),
    "coin_flip": (350, 150),
    "commonsense_qa": (9741, 1221),
    "strategy_qa": (1603, 687),
}
pytestmark = pytest.mark.golden
Released = Callable[[str], Path]


def questions(released: Released, task: str) -> dict[str, list[Question]]:
    folder = "datasets/fine-tune-cot"
    return fine_tune_cot_questions(
        task, released(f"{folder}/dataset/{task}.json"), released(f"{folder}/split/{task}__default.json")
    )


def right(asked: list[Question], completions: list[Completion], grader: Grader) -> list[tuple[Question, Completion]]:
    by_qid = {question.qid: question for question in asked}
    judged = [
        (by_qid[one.qid], one, grade(one.text, one.answer_text, one.finish_reason, by_qid[one.qid].gold, grader, None))
        for one in completions
    ]
    return [(question, one) for question, one, graded in judged if graded.outcome == Outcome.RIGHT]


def file_task(released: Released, name: str, answer: str) -> Task:
    folder = released("datasets/fine-tune-cot")
    return Task.model_validate(
        {
            "task": name,
            "title": name,
            "answer": answer,
            "gold": "{{ answer }}",
            "source": {
                "kind": "file",
                "files": {"all": f"{folder}/dataset/{name}.json"},
                "split_file": f"{folder}/split/{name}__default.json",
            },
        }
    )


@pytest.mark.parametrize(("task", "sizes"), SIZES.items(), ids=SIZES)
def test_splits_have_the_published_sizes(task, sizes, released):
    splits = questions(released, task)
    assert (len(splits["train"]), len(splits["test"])) == sizes


@pytest.mark.parametrize(
    ("task", "kept", "teacher"),
    [
        ("single_eq", 289, 125),
        ("addsub", 209, 94),
        ("multiarith", 323, 142),
        ("tracking_shuffled_objects", 284, 113),
        ("coin_flip", 314, 139),
    ],
)
def test_the_first_candidate_keeps_the_published_rationales_and_gives_the_published_teacher(
    task, kept, teacher, released
):
    path = released(f"replay/fine-tune-cot/D_{task}.json")
    for split, expected in {"train": kept, "test": teacher}.items():
        asked = questions(released, task)[split]
        completions = fine_tune_cot_completions(path, asked, "davinci")
        assert len(completions) == len(asked)
        assert len(right(asked, completions, RULES[task])) == expected


@pytest.mark.parametrize(
    ("task", "split", "count"),
    [
        ("single_eq", "train", 287),
        ("addsub", "train", 210),
        ("multiarith", "train", 324),
        ("single_eq", "test", 128),
        ("addsub", "test", 94),
        ("multiarith", "test", 146),
        ("tracking_shuffled_objects", "test", 113),
        ("coin_flip", "test", 139),
    ],
)
def test_the_last_candidate_would_give_other_numbers_than_published(task, split, count, released):
    asked = questions(released, task)[split]
    completions = fine_tune_cot_completions(released(f"replay/fine-tune-cot/D_{task}.json"), asked, "davinci")
    assert len(right(asked, completions, RULES[task].model_copy(update={"choose": "last"}))) == count


def test_the_fine_tuning_file_of_gpt3_is_rebuilt_byte_for_byte(released):
    asked = questions(released, "multiarith")["train"]
    completions = fine_tune_cot_completions(released("replay/fine-tune-cot/D_multiarith.json"), asked, "davinci")
    lines = [
        json.dumps(
            {
                "prompt": f"{question.question}\n\n###\n\n",
                "completion": f" {completion.text.strip()}\n\n-->\n\n{question.gold} END",
            }
        )
        for question, completion in right(asked, completions, STRING)
    ]
    public = released("replay/fine-tune-cot/F_zs_cot_multiarith.jsonl").read_bytes()
    assert (len(lines), len(public)) == (323, 142_851)
    assert "\n".join(lines).encode() == public


def test_left_over_samples_of_another_experiment_are_read_only_on_request(released):
    path = released("replay/fine-tune-cot/D_multiarith.json")
    asked = [question for split in questions(released, "multiarith").values() for question in split]
    assert len(fine_tune_cot_completions(path, asked, "davinci")) == 600
    every = fine_tune_cot_completions(path, asked, "davinci", samples="all")
    assert len(every) == 792
    assert len({completion.completion_id for completion in every}) == 792


@pytest.mark.parametrize(("truncated", "rows"), [("keep", 289), ("drop", 289 - 24)])
def test_cut_rationales_pass_the_published_filter_and_are_dropped_by_default(released, truncated, rows):
    path = released("replay/fine-tune-cot/D_single_eq.json")
    asked = questions(released, "single_eq")["train"]
    completions = fine_tune_cot_completions(path, asked, "davinci")
    verdicts, _, _ = verify(completions, asked, {"paper": NUMBER}, Reading())
    prompt = Prompt(prompt="p", input="{{ question }}", target="{{ rationale }} --> {{ answer }}")
    source = Rows.model_validate({"from": "teacher", "grader": "paper", "truncated": truncated})
    sampled = Sampled(completions, verdicts, Renderer(prompt, []), path)
    composed, summary = compose(asked, {"teacher": source}, {"teacher": sampled}, Renderer(prompt, []), seed=1)
    assert len(composed) == rows
    assert summary["sources"]["teacher"]["looked_at"] == 356


def test_a_file_under_the_name_of_another_data_set_is_refused(released, tmp_path):
    path = tmp_path / "D_multiarith.json"
    path.write_bytes(released("replay/fine-tune-cot/D_addsub.json").read_bytes())
    with pytest.raises(UserError, match=r"D_multiarith\.json: metadata\.dataset_key = 'addsub'"):
        fine_tune_cot_completions(path, [], "davinci")


def test_guessing_among_the_options_scores_as_published(released):
    task = file_task(released, "date_understanding", "choice")
    task = task.model_copy(update={"graders": {"paper": Grader(candidates="choice", letters="A-F")}})
    every = [question for split in questions(released, "date_understanding").values() for question in split]
    assert round(100 * random_guess(task, every), 2) == 17.12


def test_a_file_task_names_its_questions_as_the_replay_does(released):
    task = file_task(released, "multiarith", "number")
    built, read = build_task(task), questions(released, "multiarith")
    assert [question.qid for question in built.train] == [question.qid for question in read["train"]]
    assert [question.gold for question in built.test] == [question.gold for question in read["test"]]
