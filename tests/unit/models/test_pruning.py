"""Pruning by lists and by influence: which layers a smaller student keeps, and what is refused."""

import math
import shutil

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from distillery.config.model import Model, PrunedModel, RandomModel
from distillery.config.prompt import Prompt
from distillery.errors import UserError
from distillery.models.pruning import least_influential, listed_layers, prune_layers
from distillery.models.sources import prepare_model, read_manifest
from distillery.records import Question, TrainingRow
from distillery.tasks.prompts import Renderer
from distillery.tasks.worked import worked_texts

LAYERS = 6
IDENTITIES = (2, 4)
TEXTS = [
    TrainingRow(qid=f"q{n}", source="gold", sample_index=0, completion_id=None, prompt=prompt, target=target)
    for n, (prompt, target) in enumerate([("Q: 1+1?", " 2"), ("Q: two and three?", " 5 --> 5"), ("x", " y" * 9)])
]


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A model that has learned the texts by heart, of which two layers give their input back."""
    out = tmp_path_factory.mktemp("models") / "whole"
    prepare_model(RandomModel(kind="random", layers=LAYERS, seed=3), out, parent=None, downloads=out.parent)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    for index in IDENTITIES:
        layer = model.model.layers[index].requires_grad_(False)
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=3e-3)
    for _ in range(25):
        for row in TEXTS:
            ids = torch.tensor([[*tokenizer(row.prompt + row.target).input_ids, tokenizer.eos_token_id]])
            model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(out)
    return out


def loss_of(folder, dropped) -> float:
    """Nats per target token of the texts, one by one and without padding, with layers really cut out."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prune_layers(model, [index for index in range(LAYERS) if index not in dropped])
    total, tokens = 0.0, 0
    for row in TEXTS:
        prompt, target = tokenizer(row.prompt).input_ids, [*tokenizer(row.target).input_ids, tokenizer.eos_token_id]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + target]), use_cache=False).logits[0, len(prompt) - 1 : -1].double()
        total -= float(logits.log_softmax(-1)[range(len(target)), target].sum())
        tokens += len(target)
    return total / tokens


@pytest.mark.parametrize("method", ["greedy", "one-pass"])
def test_layers_that_do_nothing_are_left_out_first(parent, method):
    chosen = least_influential(parent, TEXTS, layers=2, method=method)
    assert sorted(chosen.dropped) == list(IDENTITIES)
    assert chosen.kept == [0, 1, 3, 5]
    assert chosen.losses == pytest.approx([chosen.loss] * 2, abs=1e-5)
    if method == "one-pass":
        assert [chosen.similarities[index] for index in IDENTITIES] == pytest.approx([1, 1], abs=1e-5)
        assert max(chosen.similarities[index] for index in (0, 1, 3, 5)) < 0.999


def test_greedy_choices_have_the_losses_of_the_models_cut_so(parent):
    chosen = least_influential(parent, TEXTS, layers=5, method="greedy")
    assert chosen.loss == pytest.approx(loss_of(parent, []), abs=1e-4)
    for count, loss in enumerate(chosen.losses, start=1):
        before = chosen.dropped[: count - 1]
        others = {index: loss_of(parent, [*before, index]) for index in range(LAYERS) if index not in before}
        assert loss == pytest.approx(others[chosen.dropped[count - 1]], abs=1e-4)
        assert loss <= min(others.values()) + 1e-4
    assert chosen.target_tokens == sum(len(row.target) + 1 for row in TEXTS)


def test_a_chosen_student_has_the_chosen_layers_and_its_manifest_says_why(parent, tmp_path):
    influence = {"layers": 2, "task": "t", "prompt": "p", "questions": 3}
    spec = PrunedModel(kind="pruned", parent="whole", drop_by_influence=influence)
    made = prepare_model(spec, tmp_path / "cut", parent=parent, downloads=tmp_path, texts=TEXTS)
    listed = PrunedModel(kind="pruned", parent="whole", drop=[4, 2])
    same = prepare_model(listed, tmp_path / "listed", parent=parent, downloads=tmp_path)
    assert made.layers == same.layers == 4
    assert made.files["model.safetensors"] == same.files["model.safetensors"]
    assert made.identity == same.identity == f"pruned({read_manifest(parent).identity}):keep=0+1+3+5"
    assert made.pruning.questions == ["q0", "q1", "q2"] and len(made.pruning.losses) == 2
    assert read_manifest(tmp_path / "cut") == made
    assert "pruning" not in (tmp_path / "listed/manifest.json").read_text()


@pytest.mark.parametrize(
    ("key", "listed", "kept"),
    [("keep", [0, 1, 3, 5], [0, 1, 3, 5]), ("keep", [5, 0], [0, 5]), ("drop", [0], [1, 2, 3, 4, 5])],
)
def test_a_list_keeps_the_layers_that_it_says_in_their_order(key, listed, kept):
    assert listed_layers(LAYERS, key, listed) == kept


BAD_LISTS = {
    "a layer beyond the last": ({"keep": [0, 6]}, "keep", r"the parent has 6 layers.*0 to 5"),
    "a layer far beyond it": ({"drop": [1, 99]}, "drop", r"\[99\].*has 6 layers"),
    "all layers": ({"drop": [0, 1, 2, 3, 4, 5]}, "drop", r"all 6 layers"),
    "as many as there are": (
        {"drop_by_influence": {"layers": 6, "task": "t", "prompt": "p"}},
        "drop_by_influence.layers",
        r"6.*one must remain.*at most 5",
    ),
}


@pytest.mark.reliability("model-folder")
@pytest.mark.parametrize(("choice", "key", "words"), BAD_LISTS.values(), ids=BAD_LISTS)
def test_layers_that_the_parent_does_not_have_are_refused_before_a_folder_is_made(parent, tmp_path, choice, key, words):
    spec = PrunedModel(kind="pruned", parent="whole", **choice)
    with pytest.raises(UserError, match=words) as refused:
        prepare_model(spec, tmp_path / "out", parent=parent, downloads=tmp_path, texts=TEXTS)
    assert refused.value.key == key and refused.value.remedy
    assert not list(tmp_path.iterdir())


@pytest.mark.reliability("model-folder")
@pytest.mark.parametrize(
    "choice",
    [
        {"keep": []},
        {"drop": []},
        {"keep": [1, 1]},
        {"drop": [0, 2, 0]},
        {"keep": [-1]},
        {"drop": [True]},
        {"keep": ["0"]},
        {"keep": [0.0]},
        {"keep": [0], "drop": [1]},
        {"keep": [0], "keep_every": 2},
        {"keep": [0], "keep_last": True},
        {"drop_by_influence": {"layers": 0, "task": "t", "prompt": "p"}},
        {"drop_by_influence": {"layers": 1, "task": "t"}},
        {"drop_by_influence": {"layers": 1, "task": "t", "prompt": "p", "questions": 0}},
        {"drop_by_influence": {"layers": 1, "task": "t", "prompt": "p", "method": "random"}},
        {"drop_by_influence": {"layers": 1, "task": "t", "prompt": "p"}, "drop": [3]},
        {"keep_every": 1},
    ],
    ids=str,
)
def test_a_choice_that_means_nothing_or_two_things_is_refused(choice):
    with pytest.raises(ValidationError):
        TypeAdapter(Model).validate_python({"kind": "pruned", "parent": "whole", **choice})


@pytest.mark.parametrize("choice", [{}, {"keep_every": 3, "keep_last": False}, {"keep": [1]}, {"drop": [1]}], ids=str)
def test_a_choice_survives_being_a_parameter(choice):
    spec = PrunedModel(kind="pruned", parent="whole", **choice)
    assert PrunedModel.model_validate(spec.model_dump(mode="json")) == spec
    assert spec.keep_every == {"": 2, "keep_every": 3}.get(next(iter(choice), ""))


def question(n: int, rationale: str | None = "so") -> Question:
    return Question(qid=f"q{n:02}", task="sums", question=f"{n}?", gold=str(n), rationale=rationale)


COT = Prompt(prompt="cot", input="Q: {{ question }}", target=" {{ rationale }} --> {{ answer }}")


def test_the_seed_draws_the_questions_and_fewer_are_part_of_more():
    pool = [question(n) for n in range(40)]
    drawn = {seed: worked_texts(pool, Renderer(COT, []), count=8, seed=seed) for seed in range(4)}
    assert worked_texts(pool[::-1], Renderer(COT, []), count=8, seed=1) == drawn[1]
    assert len({tuple(row.qid for row in rows) for rows in drawn.values()}) == 4
    some = {row.qid for row in worked_texts(pool, Renderer(COT, []), count=3, seed=1)}
    assert some < {row.qid for row in drawn[1]}
    assert drawn[0][0].target == f" so --> {int(drawn[0][0].qid[1:])}"


def test_a_rationale_that_no_question_has_is_refused_where_the_target_shows_it():
    with pytest.raises(
        UserError, match=r"prompts/cot.yaml.*target.*q01 of sums has no worked solution.*student-answer"
    ):
        worked_texts([question(1, None)], Renderer(COT, []), count=4, seed=0)
    answer = Prompt(prompt="answer", input="Q: {{ question }}", target=" {{ answer }}")
    assert worked_texts([question(1, None)], Renderer(answer, []), count=4, seed=0)[0].target == " 1"


@pytest.mark.reliability("model-folder")
def test_a_parent_whose_loss_is_no_number_is_refused(parent, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(parent)
    with torch.no_grad():
        model.model.layers[3].mlp.down_proj.weight.fill_(math.nan)
    broken = shutil.copytree(parent, tmp_path / "broken")
    model.save_pretrained(broken)
    with pytest.raises(UserError, match=r"broken: the parent's loss on 3 texts is nan"):
        least_influential(broken, TEXTS, layers=1, method="greedy")
