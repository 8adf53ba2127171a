"""From rows to batches: units, data sets, padded tensors, their order, and what callbacks ask for; by hand."""

from types import SimpleNamespace

import pytest
import torch

from distillery.config.prompt import Prompt
from distillery.config.recipe import Rows, Train
from distillery.errors import UserError
from distillery.models.tokenization import Example
from distillery.records import Completion, Question, TrainingRow, Verdict
from distillery.tasks.prompts import Renderer
from distillery.training import trainers
from distillery.training.batches import CausalCollator, EpochOrder, PairCollator, Seq2SeqCollator
from distillery.training.compose import compose
from distillery.training.forward import head_on
from distillery.training.objectives.cross_entropy import CrossEntropy
from distillery.training.objectives.two_task import TwoTask
from distillery.training.sources.common import Sampled
from distillery.training.trainers import FollowEpoch, Progress, SaveNowAndThen
from distillery.training.units import Unit, collator_of, dataset_of, units_of

FEATURES = [{"prompt_ids": [5, 6], "target_ids": [7]}, {"prompt_ids": [8], "target_ids": [9, 4, 3]}]
PAIR = TwoTask(loss="two-task")
PLAIN = CrossEntropy(loss="cross-entropy")


def lists(batch: dict) -> dict:
    assert all(tensor.dtype in (torch.int64, torch.bool) for tensor in batch.values())
    return {name: tensor.tolist() for name, tensor in batch.items()}


def test_a_causal_batch_has_prompt_and_target_in_one_row_and_loss_on_the_target_alone():
    assert lists(CausalCollator(0)(FEATURES)) == {
        "input_ids": [[5, 6, 7, 0], [8, 9, 4, 3]],
        "attention_mask": [[1, 1, 1, 0], [1, 1, 1, 1]],
        "labels": [[-100, -100, 7, -100], [-100, 9, 4, 3]],
    }
    assert lists(CausalCollator(2, 5, mask_padding=False)(FEATURES)) == {
        "input_ids": [[5, 6, 7, 2, 2], [8, 9, 4, 3, 2]],
        "attention_mask": [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]],
        "labels": [[-100, -100, 7, 2, 2], [-100, 9, 4, 3, 2]],
    }


def test_an_encoder_decoder_reads_the_prompt_and_its_labels_are_the_target():
    assert lists(Seq2SeqCollator(0, 4)(FEATURES)) == {
        "input_ids": [[5, 6], [8, 0]], "attention_mask": [[1, 1], [1, 0]],
        "labels": [[7, -100, -100, -100], [9, 4, 3, -100]],
    }  # fmt: skip
    assert lists(Seq2SeqCollator(0)(FEATURES))["labels"] == [[7, -100, -100], [9, 4, 3]]


def test_the_rows_of_pairs_are_one_batch_that_knows_their_task():
    pairs = [
        {"feedback": [True, False], "prompt_ids": [[5, 6], [8]], "target_ids": [[7], [9, 4, 3]]},
        {"feedback": [False], "prompt_ids": [[1]], "target_ids": [[2]]},
    ]
    found = lists(PairCollator(Seq2SeqCollator(0))(pairs))
    assert found["feedback"] == [True, False, False]
    assert found["input_ids"] == [[5, 6], [8, 0], [1, 0]] and found["labels"][2] == [2, -100, -100]


def row(qid: str, source: str, index: int = 0) -> TrainingRow:
    return TrainingRow(
        qid=qid, source=source, sample_index=index, completion_id=None, prompt=f"{qid}{source}", target="t"
    )


def encode(rows) -> list[Example]:
    return [Example(prompt_ids=[ord(letter) for letter in found.prompt], target_ids=[1]) for found in rows]


def test_a_pair_is_the_rows_of_one_question_and_sample_with_feedback_first():
    rows = [row("b", "rationale"), row("a", "rationale", 1), row("a", "feedback", 1), row("b", "feedback")]
    found = units_of(rows, PAIR, encode)
    assert [unit.feedback for unit in found] == [(True, False), (True, False)]
    prompts = [["".join(map(chr, example.prompt_ids)) for example in unit.examples] for unit in found]
    assert prompts == [["bfeedback", "brationale"], ["afeedback", "arationale"]]
    assert (found[0].tokens, found[0].target_tokens) == (21, 2)
    assert [unit.feedback for unit in units_of(rows, PLAIN, encode)] == [(False,)] * 4
    data = dataset_of(found, PAIR)
    assert data[0]["feedback"] == [True, False] and data.column_names == ["feedback", "prompt_ids", "target_ids"]
    assert data[1]["prompt_ids"] == [example.prompt_ids for example in found[1].examples]
    assert data[1]["target_ids"] == [[1], [1]]
    plain = dataset_of(units_of(rows, PLAIN, encode), PLAIN)
    assert plain[0] == {"prompt_ids": [ord(letter) for letter in "brationale"], "target_ids": [1]}


@pytest.mark.parametrize(
    ("rows", "problem", "key"),
    [
        ([row("a", "gold")], "the objective two-task takes rows of source feedback and rationale", "row a/gold/0"),
        ([row("a", "feedback", 2)], "there is no rationale row to this one", "row a/feedback/2"),
        ([row("a", "rationale")], "there is no feedback row to this one", "row a/rationale/0"),
        ([row("a", "feedback")] * 2, "there are two rows of this name", "row a/feedback/0"),
    ],
)
def test_rows_that_are_no_pairs_are_refused_with_their_name(rows, problem, key):
    with pytest.raises(UserError) as caught:
        units_of(rows, PAIR, encode)
    assert (caught.value.problem, caught.value.key) == (problem, key)
    assert caught.value.remedy == "Compose the rows as pairs, or choose another objective (`objective.loss`)"


def needing(*needs: str):
    return SimpleNamespace(needs=set(needs))


@pytest.mark.parametrize(
    ("needs", "architecture", "kind", "pad", "width"),
    [
        ((), "causal", CausalCollator, 0, 0),
        ((), "encoder-decoder", Seq2SeqCollator, 0, 0),
        (("equal-width",), "causal", CausalCollator, 0, 9),
        (("equal-width",), "encoder-decoder", Seq2SeqCollator, 0, 4),
        (("supervised-padding",), "causal", CausalCollator, 1, 64),
    ],
)
def test_the_collator_pads_as_the_objective_needs(needs, architecture, kind, pad, width):
    units = [Unit((Example([1] * 5, [2] * 4), Example([1] * 6, [2] * 2)), (True, False)),
             Unit((Example([1] * 3, [2]),), (False,))]  # fmt: skip
    tokenizer = SimpleNamespace(pad_token_id=0, eos_token_id=1)
    given = {"train": Train(max_length=64), "architecture": architecture}
    found = collator_of(units, tokenizer, objective=needing(*needs), **given)
    assert (type(found), found.pad_id, found.width) == (kind, pad, width)
    if architecture == "causal":
        assert found.mask_padding == ("supervised-padding" not in needs)
    paired = collator_of(units, tokenizer, objective=needing("pairs", *needs), **given)
    assert isinstance(paired, PairCollator) and type(paired.collate) is kind and paired.collate.width == width


def test_what_was_seen_is_whole_epochs_and_the_first_updates_of_the_next():
    order = EpochOrder([3, 1, 2, 5, 4], batch_size=2, seed=0)
    assert (len(order), order.steps_per_epoch(), list(order)) == (5, 3, order.order(0))
    order.set_epoch(1)
    assert list(order) == order.order(1) and sorted(order.order(1)) == [0, 1, 2, 3, 4]
    assert list(order.seen(0)) == []
    assert list(order.seen(2)) == order.order(0)[:4] and list(order.seen(3)) == order.order(0)
    assert list(order.seen(4)) == order.order(0) + order.order(1)[:2]


def test_the_order_follows_the_epoch_of_the_updates_made():
    order = EpochOrder([1] * 5, batch_size=2, seed=0)
    for step, epoch in [(0, 0), (2, 0), (3, 1), (7, 2)]:
        FollowEpoch(order).on_epoch_begin(None, SimpleNamespace(global_step=step), None)
        assert order.epoch == epoch


def asked(saver: SaveNowAndThen, step: int, most: int = 10) -> bool:
    control = SimpleNamespace(should_save=False)
    saver.on_step_end(SimpleNamespace(device="cpu"), SimpleNamespace(global_step=step, max_steps=most), control)
    return control.should_save


def test_a_checkpoint_is_due_after_its_seconds_or_steps_and_never_at_the_end(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(trainers.time, "monotonic", lambda: now[0])
    saver = SaveNowAndThen(60.0, None)
    assert not asked(saver, 1)
    for now[0], due in [(159.9, False), (160.0, True), (219.0, False), (220.0, True)]:
        assert asked(saver, 2) is due
    now[0] = 400.0
    assert not asked(saver, 10) and asked(saver, 9), "the last weights are published"
    saver = SaveNowAndThen(60.0, 3)
    assert [step for step in range(1, 11) if asked(saver, step)] == [3, 6, 9]


def test_the_bar_shows_updates_and_loss_on_stderr(capsys):
    progress = Progress("out")
    progress.on_step_end(None, SimpleNamespace(global_step=1), None)
    progress.on_log(None, None, None, {"loss": 1.0})
    progress.on_train_end(None, None, None)
    progress.on_train_begin(None, SimpleNamespace(is_world_process_zero=False), None)
    assert progress.bar is None
    progress.on_train_begin(None, SimpleNamespace(is_world_process_zero=True, max_steps=9, global_step=2), None)
    assert (progress.bar.total, progress.bar.n, progress.bar.desc, progress.bar.unit) == (9, 2, "out", "step")
    assert progress.bar.mininterval == 2
    progress.on_step_end(None, SimpleNamespace(global_step=5), None)
    progress.on_log(None, None, None, {"loss": 1.23456})
    progress.on_log(None, None, None, {"other": 1})
    assert (progress.bar.n, progress.bar.postfix) == (5, "loss=1.235")
    progress.on_train_end(None, None, None)
    out, err = capsys.readouterr()
    assert out == "" and "out:" in err and progress.bar.disable


def test_the_head_sees_the_wanted_positions_in_reading_order_and_only_within():
    head = torch.nn.Linear(2, 3)
    model = SimpleNamespace(get_output_embeddings=lambda: head)
    hidden, wanted = torch.arange(12.0).reshape(2, 3, 2), torch.tensor([[0, 1, 1], [1, 0, 0]], dtype=torch.bool)
    with head_on(model, wanted):
        gathered = head(hidden)
        with pytest.raises(ValueError, match=r"the head got \(2, 2, 2\), expected \(batch, tokens\) \(2, 3\)"):
            head(hidden[:, :2])
    torch.testing.assert_close(gathered, head(hidden)[wanted][None])
    assert head(hidden).shape == (2, 3, 3)


# Composing

PROMPT = Prompt(prompt="p", input="Q: {{ question }}\nA:", target=" {{ rationale }} --> {{ answer }}", delimiter="-->")
TEXTS = {("q1", 0): ("so 1 --> 1", "right"), ("q1", 1): ("so 2 --> 2", "wrong"),
         ("q1", 2): ("so 1 --> 1", "right"), ("q2", 0): ("--> 1", "right"), ("q2", 1): ("cut", "truncated"),
         ("q3", 0): ("so 1 --> 1", "right"), ("q4", 0): ("a", "right"), ("q4", 1): ("b", "right")}  # fmt: skip


def sampled(path=None) -> Sampled:
    completions = [
        Completion(completion_id=f"{qid}-{index}", qid=qid, sampler="s", sample_index=index, text=text,
                   finish_reason="length" if text == "cut" else "stop", prompt_tokens=1, completion_tokens=1)
        for (qid, index), (text, _) in TEXTS.items()
    ]  # fmt: skip
    verdicts = [
        Verdict(completion_id=f"{qid}-{index}", qid=qid, sample_index=index, grader=grader, answer=None, reason="",
                outcome=outcome if grader == "robust" else "right")
        for (qid, index), (_, outcome) in TEXTS.items() for grader in ("robust", "paper")
    ]  # fmt: skip
    return Sampled(completions[::-1], verdicts, Renderer(PROMPT, []), path)


def composed(sources: dict, questions=("q1", "q2"), **given):
    rows = {name: Rows.model_validate(source) for name, source in sources.items()}
    asked = [Question(qid=qid, task="t", question=f"{qid}?", gold="7", rationale="gold text") for qid in questions]
    named = {name: sampled(**given) for name, source in sources.items() if source["from"] == "teacher"}
    return compose(asked, rows, named, Renderer(PROMPT, []), seed=1)


def test_rows_are_whole_records_and_every_completion_is_counted_once():
    rows, summary = composed({"teacher": {"from": "teacher", "unique": True}, "gold": {"from": "gold"}})
    assert [found.model_dump() for found in sorted(rows, key=lambda found: (found.source == "gold", found.qid))] == [
        {"qid": "q1", "source": "teacher", "sample_index": 0, "completion_id": "q1-0", "prompt": "Q: q1?\nA:",
         "target": " so 1 --> 7"},
        *({"qid": qid, "source": "gold", "sample_index": 0, "completion_id": None, "prompt": f"Q: {qid}?\nA:",
           "target": " gold text --> 7"} for qid in ("q1", "q2")),
    ]  # fmt: skip
    assert summary["training_rows"] == 3 and summary["samples_used"] == 5
    assert summary["sources"]["teacher"] == {
        "questions": 2, "questions_with_rows": 1, "looked_at": 5, "kept": 1,
        "dropped": {"empty rationale": 1, "repeated": 1, "truncated": 1, "wrong": 1},
    }  # fmt: skip
    assert summary["sources"]["gold"] == {
        "questions": 2, "questions_with_rows": 2, "looked_at": 2, "kept": 2, "dropped": {},
    }  # fmt: skip


def test_two_sources_of_the_same_completions_count_the_one_that_looks_at_more():
    both = {"few": {"from": "teacher", "degree": 1}, "all": {"from": "teacher"}}
    rows, summary = composed(both)
    assert (summary["samples_used"], summary["sources"]["few"]["looked_at"], len(rows)) == (5, 2, 3)
    capped = composed({"a": {"from": "teacher", "per_question": 1, "grader": "paper"}})[1]["sources"]["a"]
    assert capped["dropped"] == {"empty rationale": 1, "over the cap": 2, "truncated": 1}
    capped = composed({"a": {"from": "teacher", "per_question": 1, "grader": "paper"}}, ("q4", "q1", "q3"))[1]
    assert capped["sources"]["a"]["dropped"] == {"over the cap": 1 + 2}


def test_a_source_without_a_row_is_refused_with_its_counts_and_file(tmp_path):
    for questions, grader, problem in [
        (("q2",), "robust", "not one of 2 completions can be used as a rationale (1 empty rationale, 1 truncated; "
         "grader robust)"),
        (("q9",), "paper", "not one of 0 completions can be used as a rationale (no completions at all; grader paper)"),
    ]:  # fmt: skip
        with pytest.raises(UserError) as caught:
            composed({"mine": {"from": "teacher", "grader": grader}}, questions, path=tmp_path)
        assert (caught.value.problem, caught.value.key, caught.value.file) == (problem, "rows.mine", tmp_path)
