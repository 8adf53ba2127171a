"""PaD through the real rules: programs are run, kept, broken, trained on, and sent back when they fail.

A model with random weights writes no programs, so the teacher's completions lie in the store beforehand, under the keys
of the requests that the workflow makes: it draws none of them. Everything else is the real thing.
"""

import json
import shutil

import pytest

from .projects import Project, made_once, make_project

pytestmark = pytest.mark.e2e

RIGHT = "def solution():\n    a = {gold}\n    b = 0\n    result = a + b\n    return result"
FIRST = {  # qid's place -> the first of its two programs
    0: "def solution():\n    result = total + 1\n    return result",
    1: "def solution():\n    return",
    2: "I am sorry, but as an AI language model I cannot.",
    3: "import os\ndef solution():\n    return os.getpid()",
    4: "def solution():\n    result = (1 + \n    return result",
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A finished run of `tiny_programs`, whose student is causal, and `tiny_t5_programs`, an encoder-decoder's."""
    return Project(made_once(tmp_path_factory, "programs", run_programs))


def run_programs(root):
    import yaml

    from distillery.config.prompt import Prompt
    from distillery.files import read_json_lines
    from distillery.models.manifest import read_manifest
    from distillery.records import Question, read_records
    from distillery.sampling.requests import Series
    from distillery.sampling.sampler import requests_for
    from distillery.sampling.store import CompletionStore, Stored

    project = make_project(root, experiments="[tiny_programs, tiny_t5_programs]")
    project.run("results/questions/tiny/train.jsonl", "results/base_models/tiny-random/manifest.json")

    questions = list(read_records(project.root / "results/questions/tiny/train.jsonl", Question))
    exemplars = read_json_lines(project.root / "results/questions/tiny/exemplars.jsonl")
    prompt = Prompt.model_validate(yaml.safe_load((project.root / "config/prompts/few-shot-program.yaml").read_text()))
    decoding = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 12, "seed": 0}
    spec = {"prompt": prompt.model_dump(), "decoding": decoding, "samples": 2}
    rows, requests = requests_for(questions, exemplars, spec, project.root / "nowhere")
    model = read_manifest(project.root / "results/base_models/tiny-random/manifest.json")
    series = Series.of(model.identity, decoding, prompt.stop)
    places = {question.qid: place for place, question in enumerate(questions)}
    with CompletionStore(str(project.root / "work/completions")).writer(series) as writer:
        for (question, index), asked in zip(rows, requests, strict=True):
            text = RIGHT.format(gold=question.gold)
            if index == 0:
                text = FIRST.get(places[question.qid], text)
            writer.add(asked.prompt, Stored(asked.key(series), index, text, "stop", 9, 9))
    (root / "output.txt").write_text(project.run().output)


def read(project, path: str) -> list[dict]:
    return [json.loads(line) for line in (project.root / path).read_text().splitlines()]


def test_every_program_has_the_verdict_that_its_run_deserves(programs):
    verdicts = read(programs, "results/verdicts/tiny/train/tiny-programs/verdicts.jsonl")
    told = {(one["qid"], one["sample_index"]): one for one in verdicts if one["grader"] == "robust"}
    qids = sorted({one["qid"] for one in verdicts})
    outcomes = [told[qid, 0]["outcome"] for qid in qids]
    assert outcomes == ["raised", "wrong", "refused", "rejected", "unparsable", "right"]
    assert all(told[qid, 1]["outcome"] == "right" for qid in qids)
    assert "NameError" in told[qids[0], 0]["reason"]


def test_the_teacher_was_not_asked_again(programs):
    output = (programs.root / "output.txt").read_text()
    assert "12 requested, 12 in the store, 0 to generate" in output


def test_rows_teach_programs_and_their_repair_and_every_repair_shows_a_real_error(programs):
    rows = read(programs, "results/rows/tiny/tiny/pad/tiny-random-half/seed1/rows.jsonl")
    written = [row for row in rows if row["source"] == "program"]
    repairs = [row for row in rows if row["source"] == "repair"]
    assert len(written) == 7 and 1 <= len(repairs) <= 7
    for row in repairs:
        assert any(
            error in row["prompt"] for error in ("NameError", "UnboundLocalError", "SyntaxError", "IndentationError")
        )
        assert row["target"].startswith("def solution():")


def test_the_sandbox_in_use_is_on_record(programs):
    record = json.loads((programs.root / "results/verdicts/tiny/train/tiny-programs/provenance.json").read_text())
    assert record["work"]["sandbox"] != "unsafe" and record["work"]["programs"] >= 10


def test_failed_programs_go_back_for_two_rounds_and_accuracy_is_told_for_each(programs):
    folder = "tiny/test/tiny/pad/tiny-random-half/seed1"
    drafts = read(programs, f"results/refined/{folder}/rounds.jsonl")
    assert {draft["round"] for draft in drafts} == {0, 1, 2}
    assert all(draft["feedback"] for draft in drafts), "random weights write no program"
    scores = json.loads((programs.root / f"results/scores/{folder}/scores.json").read_text())
    assert scores["rounds"]["robust"] == [0.0, 0.0, 0.0]
    assert "0.0 → 0.0 → 0.0" in (programs.root / "results/tables/tiny_programs/table.md").read_text()


def test_the_study_of_the_output_space_tells_loss_spread_and_errors_of_each_round(programs, tmp_path):
    programs = Project(shutil.copytree(programs.root, tmp_path / "project", symlinks=True))
    ran = programs.run("results/output_space/tiny_programs/study.md")
    assert ran.computed == {"output_space": 1}
    page = (programs.root / "results/output_space/tiny_programs/study.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith("| PaD")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == "5" and 0 <= float(cells[3]) <= 2 and cells[4] == "0.0" and float(cells[5]) > 0
    assert float(cells[6]) > 0 and float(cells[7]) > float(cells[6]), "a target has more than one token"
    assert cells[8].count("SyntaxError 5") == 3


def test_rows_that_are_held_out_are_not_trained_on_and_their_loss_is_told_over_time(programs):
    folder = "tiny/tiny/pad/tiny-random-half/seed1"
    rows = read(programs, f"results/rows/{folder}/rows.jsonl")
    course = json.loads((programs.root / f"results/models/{folder}/summary.json").read_text())
    assert course["rows"] + course["held_out_rows"] == len(rows) and course["held_out_rows"] > 0
    assert [step for step, _ in course["held_out_loss"]] == [0, round(course["steps"] / 2), course["steps"]]


T5 = "tiny/test/tiny-t5/{recipe}/tiny-t5/seed1"
PLAIN, WEIGHTLESS = (
    T5.format(recipe=f"pad-with-verification.{changed}")
    for changed in ("scorer=none", "steps.lambda=0.0.scorer=execution")
)


def test_an_encoder_decoder_learns_and_mends_programs_once_its_tokenizer_is_known_to_keep_them(programs):
    assert (programs.root / "results/base_models/tiny-t5/writes_programs.json").exists()
    first = read(programs, f"results/predictions/{T5.format(recipe='pad')}/predictions.jsonl")
    assert all(one["text"].startswith("def solution():\n") for one in first)
    drafts = read(programs, f"results/refined/{T5.format(recipe='pad')}/rounds.jsonl")
    assert {draft["qid"] for draft in drafts if draft["round"] == 0} == {one["qid"] for one in first}
    assert {draft["round"] for draft in drafts} <= {0, 1, 2}


def test_an_encoder_decoder_searches_line_by_line_and_weight_zero_is_plain_beam_search(programs):
    plain, weightless = (
        read(programs, f"results/predictions/{path}/predictions.jsonl") for path in (PLAIN, WEIGHTLESS)
    )
    assert [one["text"] for one in plain] == [one["text"] for one in weightless]
    summary = json.loads((programs.root / f"results/predictions/{PLAIN}/summary.json").read_text())
    assert summary["questions"] == 5 and summary["mean_lines"] >= 2
    assert all(one["text"].startswith("def solution():") for one in plain)


def test_a_second_run_has_nothing_to_do(programs):
    assert programs.planned() == {}
