"""The study of the output space counts what an arm wrote, by hand here, and writes one page and one CSV file of it."""

import csv

import pytest

from distillery.evaluation.output_space import draw_study, study, write_study
from distillery.evaluation.score import summarise
from distillery.evaluation.table_records import Cell
from distillery.files import write_json
from distillery.records import Draft, GradedPrediction, Outcome, write_records

OUTCOMES = [Outcome.RIGHT, Outcome.WRONG, Outcome.RAISED, Outcome.REJECTED, Outcome.UNPARSABLE, Outcome.TRUNCATED,
            Outcome.REFUSED, Outcome.FAILED]  # fmt: skip
TEXTS = ["return 4", "return 4", *(f"return {number}" for number in range(6))]


@pytest.fixture
def arms(tmp_path):
    """An arm of programs that were refined once, and an arm of texts without a training."""
    predictions = [
        GradedPrediction(
            qid=f"q{number}", question="2 + 2?", gold="4", text=text, answer_text=None, finish_reason="stop",
            completion_tokens=7, outcomes={"robust": outcome}, answers={"robust": None},
        )
        for number, (outcome, text) in enumerate(zip(OUTCOMES, TEXTS, strict=True))
    ]  # fmt: skip
    write_records(tmp_path / "graded.jsonl", predictions)
    scores = summarise(predictions, ["robust"])
    write_json(tmp_path / "programs.json", scores | {"programs": True})
    write_json(tmp_path / "texts.json", scores | {"programs": False})
    training = {"loss_history": [[1, 2.0], [2, 1.5]], "held_out_loss": [[0, 3.0], [2, 0.5]]}
    write_json(tmp_path / "costs.json", training | {"held_out_tokens": 90, "held_out_rows": 6})
    drafts = [
        ("a", 0, "NameError: x"),
        ("b", 0, "NameError: y"),
        ("c", 0, None),
        ("a", 1, None),
        ("b", 1, "TypeError: z"),
    ]
    write_records(
        tmp_path / "rounds.jsonl",
        [Draft(qid=q, round=number, completion_id=q, text="", feedback=fault) for q, number, fault in drafts],
    )
    names = {"task": "sums", "task_title": "Sums", "recipe": "pad", "model": "small", "seed": 1}
    files = {"predictions": tmp_path / "graded.jsonl"}
    programs = Cell(
        arm_title="PaD | x", scores=tmp_path / "programs.json", costs=[tmp_path / "costs.json"], **names, **files
    )
    texts = Cell(arm_title="CoT", scores=tmp_path / "texts.json", **names, **files)
    return study([programs, texts], {str(programs.scores): tmp_path / "rounds.jsonl"}, "robust")


def test_an_arm_is_what_its_files_say(arms):
    programs, texts = arms
    assert (programs.outputs, programs.distinct) == (8, 6)
    assert programs.runnable == 25.0, "right and wrong answers came from programs that ran; six outcomes did not"
    assert (programs.losses, programs.held_out_losses) == ([(1, 2.0), (2, 1.5)], [(0, 3.0), (2, 0.5)])
    assert programs.target_nats == 7.5, "0.5 nats for each of 90 tokens, over 6 rows"
    assert programs.errors == [{"NameError": 2, "runs": 1}, {"TypeError": 1, "runs": 1}]
    assert (texts.runnable, texts.target_nats, texts.losses, texts.errors) == (None, None, [], [])
    assert 0 < programs.spread == texts.spread < 1


def test_page_and_csv_hold_the_same_fields(arms, tmp_path):
    write_study(arms, "Study", tmp_path / "study.md", tmp_path / "study.csv")
    head, programs, texts = csv.reader((tmp_path / "study.csv").open(encoding="utf-8"))
    assert dict(zip(head, programs, strict=True)) == {
        "Arm": "PaD | x, small, seed 1", "Outputs": "8", "Distinct": "6", "Spread": f"{arms[0].spread:.4f}",
        "Runnable %": "25.0", "Final loss": "1.500", "Held-out loss": "0.500", "Nats per target": "7.50",
        "Errors by round": "NameError 2, runs 1 → TypeError 1, runs 1",
    }  # fmt: skip
    assert texts[4:] == [""] * 5
    lines = (tmp_path / "study.md").read_text(encoding="utf-8").splitlines()
    table = [line.replace("\\|", "/") for line in lines if line.startswith("|")]
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in table] == [
        head, ["---"] * len(head), [programs[0].replace("|", "/"), *programs[1:]], texts,
    ]  # fmt: skip
    assert draw_study(arms, "Study").to_dict()["title"] == "Study"
