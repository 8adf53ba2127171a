"""MAPD's released SVAMP exchange through the importer's own script, as the experiment mapd_svamp_replay runs it."""

import importlib.util
import json
from pathlib import Path

import pytest

from distillery.errors import UserError
from distillery.peer_review.records import Mistake, Review, Taught
from distillery.peer_review.released import as_task, mapd_exchange
from distillery.records import Question, read_records, write_records

STEM = "Llama-2-7b-chat-hf_svamp"
SCRIPT = Path(__file__).parents[2] / "workflow/scripts/import_release.py"
pytestmark = pytest.mark.golden


@pytest.fixture
def folder(released):
    return released("replay/mapd/README.md").parent


def questions(folder: Path) -> list[Question]:
    """A task that has the same questions under other ids, with other spaces and golds like 145.0."""
    return [
        question.model_copy(
            update={"qid": f"mine-{place:03d}", "question": f" {question.question} ", "gold": f"{question.gold}.0"}
        )
        for place, question in enumerate(mapd_exchange(folder, "svamp").questions)
    ]


def test_the_importer_gives_the_golden_numbers_under_the_tasks_own_ids(folder, tmp_path):
    spec = importlib.util.spec_from_file_location("import_release", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    write_records(tmp_path / "questions.jsonl", questions(folder))
    out = {name: tmp_path / f"{name}.jsonl" for name in ("mistakes", "rationales", "feedback", "reviews")}
    script.main(
        questions=tmp_path / "questions.jsonl",
        files=[folder / f"{STEM}_false_round0.json"],
        summary=tmp_path / "summary.json",
        task="svamp",
        released={"folder": str(folder), "stem": STEM, "checked": True},
        **out,
    )
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "mistakes": 387,
        "unparsable": 9,
        "rationales": 1161,
        "reviews": 2322,
        "reviews_without_score": 2,
        "accepted": 826,
        "questions_with_accepted": 365,
        "accepted_per_question": {"0": 22, "1": 71, "2": 127, "3": 167},
        "released_list_reproduced": True,
    }
    written = list(read_records(out["rationales"], Taught))
    assert len(written) == 1161 and {completion.qid[:5] for completion in written} == {"mine-"}
    assert len(list(read_records(out["mistakes"], Mistake))) == 387
    ids = {completion.completion_id for completion in written}
    assert all(review.rationale_id in ids for review in read_records(out["reviews"], Review))


def test_a_task_without_one_of_the_questions_is_refused_by_name(folder):
    with pytest.raises(UserError, match="train split lacks this question"):
        as_task(mapd_exchange(folder, "svamp"), questions(folder)[1:], folder)
