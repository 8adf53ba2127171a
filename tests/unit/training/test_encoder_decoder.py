"""Encoder-decoder students of programs, on a tiny model with CodeT5's files: pickled weights, a RoBERTa vocabulary.

It learns four programs by heart, so that predicting, mending and searching have something to find.
"""

import hashlib
import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import (
    ByteLevelBPETokenizer,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerFast, T5Config
from transformers import T5ForConditionalGeneration as T5

from distillery.config.model import HubModel, LocalModel, RandomModel
from distillery.config.prompt import Prompt
from distillery.config.recipe import Train
from distillery.errors import UserError
from distillery.models.sources import prepare_model
from distillery.models.tokenization import PROBE, check_program, encode_rows, target_start
from distillery.programs.self_refinement import refine
from distillery.programs.step_scorers import NoScorer, Runs
from distillery.programs.step_search import search
from distillery.records import Question, TrainingRow
from distillery.sampling.backends.base import PendingRequest, open_backend
from distillery.sampling.logprobs import decode_scored
from distillery.sampling.requests import Request, Series
from distillery.sampling.sampler import CompletionSampler, sample
from distillery.sampling.store import CompletionStore
from distillery.sampling.store_maintenance import verify
from distillery.tasks.prompts import REPAIR_FIELDS, Renderer
from distillery.training.objectives.cross_entropy import CrossEntropy
from distillery.training.train import TrainingJob, train_model

from ..fakehub import files_of, start_hub
from ..fakehub import hub as hub  # a fixture

QUESTIONS = [
    Question(qid=f"q{n}", task="t", question=f"{name} has {n} pens and gets 2.", gold=str(n + 2))
    for n, name in enumerate(["Ann", "Bob", "Cid", "Dan"], start=3)
]
PROGRAM = "def solution():\n    a = {0}\n    if a > 4:\n        return a + 2\n    return a"
WORKFLOW = Path(__file__).parents[3] / "workflow"
PROMPTS = WORKFLOW.parent / "config" / "prompts"
SPECIALS = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]


def program_of(question: Question) -> str:
    return PROGRAM.format(int(question.gold) - 2)


def broken(question: Question) -> str:
    return program_of(question).replace("a = ", "a = b + ")


def prompt_named(name: str) -> Prompt:
    import yaml

    return Prompt.model_validate(yaml.safe_load((PROMPTS / f"{name}.yaml").read_text()))


STUDENT, REPAIR = prompt_named("t5-program"), prompt_named("t5-repair")


def token(text: str, left: bool = False) -> dict:
    return {"content": text, "single_word": False, "lstrip": left, "rstrip": False, "normalized": True}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """What CodeT5's repository holds: pytorch_model.bin, vocab.json, merges.txt, tokens listed as objects."""
    folder = tmp_path_factory.mktemp("hub")
    texts = [line + "\n" for question in QUESTIONS for line in (question.question, *broken(question).splitlines())]
    vocabulary = ByteLevelBPETokenizer()
    vocabulary.train_from_iterator(texts, vocab_size=340, min_frequency=2, special_tokens=SPECIALS)
    vocabulary.save_model(str(folder))
    size = vocabulary.get_vocab_size()
    names = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>", "cls": "<s>", "mask": "<mask>"}
    listed = {f"{name}_token": token(text, name == "mask") for name, text in names.items()}
    extra = [f"<extra_id_{number}>" for number in reversed(range(100))]
    typed = {name: {**one, "__type": "AddedToken"} for name, one in listed.items()}
    files = {
        "tokenizer_config.json": {**typed, "tokenizer_class": "RobertaTokenizer", "model_max_length": 512},
        "special_tokens_map.json": {**listed, "additional_special_tokens": [token(one, True) for one in extra]},
        "added_tokens.json": {one: size + number for number, one in enumerate(extra)},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    torch.manual_seed(0)
    model = T5(
        T5Config(
            vocab_size=size + 100, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_decoder_layers=2, num_heads=8,
            dropout_rate=0.0, decoder_start_token_id=0, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )
    )  # fmt: skip
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def declared(commit: str, repository: Path, **changes) -> HubModel:
    digest = hashlib.sha256((repository / "pytorch_model.bin").read_bytes()).hexdigest()
    values = {"id": "some/code-t5", "revision": commit, "pickle_sha256": digest, "architecture": "encoder-decoder"}
    return HubModel(kind="hub", **{**values, **changes})


@pytest.fixture(scope="module")
def base(repository, tmp_path_factory):
    """The prepared model."""
    with pytest.MonkeyPatch.context() as patch:
        hub = start_hub(patch)
        commit = hub.add("models/some/code-t5", files_of(repository))
        out = tmp_path_factory.mktemp("base") / "code-t5"
        prepare_model(declared(commit, repository), out, parent=None, downloads=out.parent)
        hub.stop()
    return out


def row(question: Question, source: str, prompt: str) -> TrainingRow:
    return TrainingRow(
        qid=question.qid, source=source, sample_index=0, completion_id=None, prompt=prompt, target=program_of(question)
    )


def rows() -> list[TrainingRow]:
    """Programs and their repair."""
    ask, mend = Renderer(STUDENT, []), Renderer(REPAIR, [], REPAIR_FIELDS)
    feedback = "NameError: name 'b' is not defined"
    return [row(one, "program", ask.input(one.question)) for one in QUESTIONS] + [
        row(one, "repair", mend.input(one.question, program=broken(one), feedback=feedback)) for one in QUESTIONS
    ]


def fit(base: Path, out: Path, work: Path, given: list[TrainingRow], epochs: int):
    train = Train(epochs=epochs, batch_size=8, learning_rate=1e-2, schedule="linear", warmup=0.1, max_length=128)
    objective = CrossEntropy(loss="cross-entropy")
    job = TrainingJob(base, out, work, train, objective, "encoder-decoder", seed=1, form="program")
    return train_model(given, job)


@pytest.fixture(scope="module")
def student(base, tmp_path_factory):
    """The model after training on the programs and their repair."""
    out = tmp_path_factory.mktemp("student") / "student"
    summary = fit(base, out, out.parent / "work", rows(), epochs=80)
    assert summary.final_loss < 0.05
    return out


@pytest.fixture
def model_sampler(student, tmp_path):
    return CompletionSampler(student, "student", "encoder-decoder", CompletionStore(str(tmp_path / "store")))


# Model and vocabulary


def test_codet5s_files_become_safetensors_and_a_tokenizer_that_keeps_programs(base, repository):
    assert {path.name for path in base.iterdir()} == {
        "config.json", "generation_config.json", "manifest.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(base)
    old = json.loads((repository / "vocab.json").read_text()) | json.loads(
        (repository / "added_tokens.json").read_text()
    )
    assert tokenizer.get_vocab() == old
    check_program(tokenizer, PROBE, file="base", key="probe")
    weights = torch.load(repository / "pytorch_model.bin", weights_only=True)
    model = AutoModelForSeq2SeqLM.from_pretrained(base)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_a_pickle_is_fetched_only_where_its_digest_is_named(repository, hub, tmp_path):
    commit = hub.add("models/some/code-t5", files_of(repository))
    with pytest.raises(UserError, match="only pickled weights"):
        prepare_model(
            declared(commit, repository, pickle_sha256=None), tmp_path / "two", parent=None, downloads=tmp_path
        )
    assert not [request for request in hub.asked if request.endswith(".bin")]
    prepare_model(declared(commit, repository), tmp_path / "one", parent=None, downloads=tmp_path)
    assert [request for request in hub.asked if request.endswith(".bin")]


def test_a_pickle_of_another_digest_is_not_read(repository, hub, tmp_path, monkeypatch):
    commit = hub.add("models/some/code-t5", files_of(repository))
    monkeypatch.setattr(torch, "load", lambda *_args, **_how: pytest.fail("it was read"))
    with pytest.raises(UserError, match=r"pickle_sha256 = 'bbb.*pytorch_model.bin of some/code-t5 has the digest"):
        prepare_model(
            declared(commit, repository, pickle_sha256="b" * 64), tmp_path / "out", parent=None, downloads=tmp_path
        )


def test_a_pickle_that_runs_code_is_refused(repository, hub, tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    evil = tmp_path / "evil"
    evil.mkdir()
    for path in repository.iterdir():
        (evil / path.name).write_bytes(path.read_bytes())
    torch.save({"shared.weight": Hostile()}, evil / "pytorch_model.bin")
    commit = hub.add("models/some/code-t5", files_of(evil))
    with pytest.raises(UserError, match=r"(?i)pytorch_model.bin.*weights.only"):
        prepare_model(declared(commit, evil), tmp_path / "out", parent=None, downloads=tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.reliability("model-folder")
def test_a_pickle_that_lacks_weights_is_refused(repository, hub, tmp_path):
    """transformers would fill them with random numbers."""
    lacking = tmp_path / "lacking"
    shutil.copytree(repository, lacking)
    weights = torch.load(lacking / "pytorch_model.bin", weights_only=True)
    del weights["decoder.final_layer_norm.weight"]
    torch.save(weights, lacking / "pytorch_model.bin")
    commit = hub.add("models/some/code-t5", files_of(lacking))
    with pytest.raises(UserError, match=rf"code-t5@{commit}/pytorch_model.bin: decoder.final_layer_norm.weight: lacks"):
        prepare_model(declared(commit, lacking), tmp_path / "out", parent=None, downloads=tmp_path)


def test_an_encoder_decoder_that_is_declared_causal_is_refused(base, tmp_path):
    with pytest.raises(UserError, match=r"out.architecture = 'causal'.*Write `architecture: encoder-decoder`"):
        prepare_model(LocalModel(kind="local", path=str(base)), tmp_path / "out", parent=None, downloads=tmp_path)


def test_a_random_encoder_decoder_has_codet5s_frame_around_texts(tmp_path):
    manifest = prepare_model(
        RandomModel(kind="random", architecture="encoder-decoder", layers=1, hidden_size=32),
        tmp_path / "t5", parent=None, downloads=tmp_path,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "t5")
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "t5")
    assert manifest.architecture == "encoder-decoder" and manifest.layers == 1
    assert tokenizer("a\n").input_ids[::3] == [tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert model.config.decoder_start_token_id == tokenizer.pad_token_id
    check_program(tokenizer, PROBE, file="t5", key="probe")


# What is learnt


@pytest.fixture(scope="module")
def prose(tmp_path_factory):
    """A tokenizer as T5 has it: runs of white space become one space."""
    pieces = Tokenizer(models.BPE(unk_token="<unk>"))
    pieces.normalizer = normalizers.Replace(Regex(r"\s+"), " ")
    pieces.pre_tokenizer = pre_tokenizers.Metaspace()
    pieces.decoder = decoders.Metaspace()
    texts = [PROBE, *map(program_of, QUESTIONS), *(one.question for one in QUESTIONS)]
    pieces.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=200, special_tokens=["<pad>", "</s>", "<unk>"]))
    pieces.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def test_a_target_begins_as_the_vocabulary_begins_texts(base, prose):
    given = rows()[:1]
    codet5 = AutoTokenizer.from_pretrained(base)
    (example,) = encode_rows(given, codet5, architecture="encoder-decoder", max_length=128, form="program")
    assert example.target_ids == codet5(given[0].target).input_ids
    assert (target_start(codet5), target_start(prose)) == ([codet5.bos_token_id], [])


def test_programs_are_refused_for_a_vocabulary_that_loses_newlines_and_texts_are_not(prose):
    given = rows()
    with pytest.raises(UserError, match=r"q3/program/0 = .*destroys programs.*def solution\(\): a = 3.*CodeT5"):
        encode_rows(given, prose, architecture="encoder-decoder", max_length=512, form="program")
    assert len(encode_rows(given, prose, architecture="encoder-decoder", max_length=512)) == len(given)


def test_the_check_before_sampling_names_the_model(base, prose, tmp_path):
    import runpy

    main = runpy.run_path(str(WORKFLOW / "scripts" / "check_tokenizer.py"))["main"]
    for name, tokenizer in {"code-t5": AutoTokenizer.from_pretrained(base), "prose-t5": prose}.items():
        folder = tmp_path / name
        described = json.loads((base / "manifest.json").read_text()) | {"name": name}
        (folder / "model").mkdir(parents=True)
        tokenizer.save_pretrained(folder / "model")
        (folder / "manifest.json").write_text(json.dumps(described))
    main(tmp_path / "code-t5" / "manifest.json", tmp_path / "kept.json")
    assert json.loads((tmp_path / "kept.json").read_text()) == {"program": PROBE}
    with pytest.raises(UserError, match=r"model prose-t5: .*destroys programs"):
        main(tmp_path / "prose-t5" / "manifest.json", tmp_path / "lost.json")


# Answering


DECODING = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 64, "answer_tokens": 1, "seed": 0}


def spec(**steps) -> dict:
    searching = {"beams": 2, "samples": 2, "max_lines": 8, "lambda": 1.0, **steps}
    return {"prompt": STUDENT.model_dump(), "decoding": DECODING, "samples": 1, "steps": searching}


def test_the_student_writes_its_programs(model_sampler):
    completions, _ = sample(QUESTIONS, [], spec(), model_sampler, sampler="s")
    assert [one.text for one in completions] == [program_of(question) for question in QUESTIONS]
    assert {one.finish_reason for one in completions} == {"stop"}


def test_a_broken_program_goes_back_and_is_mended(model_sampler):
    first, _ = sample(QUESTIONS, [], spec(), model_sampler, sampler="s")
    wrong = [one.model_copy(update={"text": broken(question)}) for one, question in zip(first, QUESTIONS, strict=True)]
    asked = {"prompt": REPAIR.model_dump(), "decoding": DECODING, "rounds": 2, "answer": "number"}
    last, drafts, counts = refine(QUESTIONS, wrong, [], asked, model_sampler)
    assert counts["rounds"] == [{"asked": 4, "failed": 4}, {"asked": 4, "failed": 0}]
    assert {draft.feedback for draft in drafts} == {None, "NameError: name 'b' is not defined"}
    assert [one.text for one in last] == [program_of(question) for question in QUESTIONS]


def best(model_sampler, scorer, **steps) -> list[tuple[str, str]]:
    completions, counts = search(QUESTIONS, [], spec(**steps), model_sampler, scorer, sampler="s")
    assert counts["finished"] == len(QUESTIONS)
    return [(one.text, one.finish_reason) for one in completions]


def test_one_beam_and_one_sample_is_greedy_decoding(model_sampler):
    completions, _ = sample(QUESTIONS, [], spec(), model_sampler, sampler="s")
    assert best(model_sampler, NoScorer(), beams=1, samples=1) == [(one.text, "stop") for one in completions]


def test_beams_find_the_programs_and_weight_zero_is_plain_beam_search(model_sampler):
    plain = best(model_sampler, NoScorer())
    assert [text for text, _ in plain] == [program_of(question) for question in QUESTIONS]
    drawn = model_sampler.generated
    assert best(model_sampler, Runs(), **{"lambda": 0.0}) == plain
    assert model_sampler.generated == drawn, "the same lines are asked, so the store has them"


def test_a_scorer_that_runs_the_prefix_ends_at_a_program_that_runs(model_sampler):
    assert best(model_sampler, Runs()) == best(model_sampler, NoScorer())


def test_a_beams_likelihood_is_that_of_its_program(model_sampler, student):
    """Line by line, with the lines before as the decoder's start, or the whole program at once."""
    tokenizer, model = AutoTokenizer.from_pretrained(student), AutoModelForSeq2SeqLM.from_pretrained(student).eval()
    question, text = QUESTIONS[0], program_of(QUESTIONS[0])
    series = Series.of("student", DECODING, ["\n"], scored=True)
    backend = open_backend(student, "encoder-decoder")
    written, total = "", 0.0
    for line in text.split("\n"):
        request = Request(question.question, 0, written=written)
        (one,) = backend.generate([PendingRequest("k", request, 0)], series)
        said, likelihood, _ = decode_scored(one.text)
        assert said == line
        written, total = written + line + "\n", total + likelihood
    labels = tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(**tokenizer(question.question, return_tensors="pt"), labels=labels).logits
    shares = logits.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).sum()
    assert math.isclose(total, float(shares), abs_tol=1e-3)


def test_what_was_written_is_part_of_the_key_and_the_store_can_check_it(model_sampler):
    series = Series.of("student", DECODING, [])
    plain, begun = Request("Q", 0), Request("Q", 0, written="def solution():\n")
    assert plain.key(series) != begun.key(series) and plain.model_input == "Q"
    best(model_sampler, NoScorer())
    assert not list(verify(model_sampler.store))
