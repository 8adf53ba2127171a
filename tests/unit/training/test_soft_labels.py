"""Soft labels as a file: they are those of the mentor, found by row, in little space, and what a form loses is said."""

import json
import tracemalloc

import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import log_softmax

from distillery.config.extensions import TEMPERATURES, SoftLabelForm
from distillery.errors import UserError
from distillery.models.manifest import read_manifest
from distillery.models.tokenization import Example
from distillery.training import mentor_pass
from distillery.training.losses import IGNORE, TopK, divergence_sum, soft_label_loss
from distillery.training.objectives.mentor_kd import MentorKD, mentor_kd_loss
from distillery.training.soft_labels import SoftLabels, row_digest, top_k

from ..scripts import script
from .by_hand import BOS, EOS, ROWS, base_model, ids, largest_difference, load, target_logits, train, write_rows

DIVERGENCES = ["forward-kl", "reverse-kl", "skew-forward-kl", "skew-reverse-kl", "jensen-shannon"]
EXACT = SoftLabelForm()
WIDTH, K = 40, 5


def kd(**settings) -> dict:
    return {"loss": "mentor-kd", "lambda": 0.5, "temperature": 2.0, **settings}


@pytest.fixture(scope="module", params=["causal", "encoder-decoder"])
def pair(request, tmp_path_factory):
    """Student and mentor of one architecture."""
    folder = tmp_path_factory.mktemp(request.param)
    mentor = base_model(folder / "mentor", architecture=request.param, seed=5)
    return base_model(folder / "student", architecture=request.param), mentor


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("causal")
    return base_model(folder / "student"), base_model(folder / "mentor", seed=5)


def labels_of(mentor, out, rows=ROWS, form=EXACT, precision="fp32"):
    """The file of labels of some rows, and its summary."""
    file = write_rows(out / "rows.jsonl", rows)
    kept = form.model_dump(mode="json")
    script("soft_labels").main(file, mentor, out / "labels.arrow", out / "summary.json", kept, precision)
    return SoftLabels(out / "labels.arrow"), json.loads((out / "summary.json").read_text())


def example(row, framed=False) -> Example:
    prompt, target = ids(row[0]), [*ids(row[1]), EOS]
    return Example([BOS, *prompt, EOS], [BOS, *target]) if framed else Example(prompt, target)


def batch_labels(examples):
    """Labels of a batch, aligned, with prompts and padding ignored."""
    width = max(len(row.target_ids) for row in examples)
    return torch.tensor([[*row.target_ids, *[IGNORE] * (width - len(row.target_ids))] for row in examples])


# What the file holds


def test_the_logits_are_those_of_the_mentor_at_each_target_of_each_row_in_any_order(pair, tmp_path):
    _, mentor = pair
    model = load(mentor).eval()
    stored, summary = labels_of(mentor, tmp_path)
    framed = model.config.is_encoder_decoder
    for order in ([0, 1, 2, 3], [3, 1], [2], [1, 1, 0]):
        rows = [example(ROWS[n], framed) for n in order]
        places = torch.tensor(stored.rows_of(rows))
        with torch.no_grad():
            expected = torch.cat([target_logits(model, ROWS[n])[0] for n in order])
        torch.testing.assert_close(stored.at(places, batch_labels(rows)), expected, atol=1e-5, rtol=1e-5)
    assert summary["rows"] == 4 and summary["form"] == "exact"
    assert summary["target_tokens"] == sum(len(example(row, framed).target_ids) for row in ROWS)


def test_rows_without_a_position_with_loss_have_no_labels(causal, tmp_path):
    stored, _ = labels_of(causal[1], tmp_path)
    labels = batch_labels([example(ROWS[0]), example(ROWS[1])])
    alone = stored.at(torch.tensor([1]), labels[1:])
    labels[0] = IGNORE
    assert torch.equal(stored.at(torch.tensor([0, 1]), labels), alone)
    nothing = stored.at(torch.tensor([0]), labels[:1])
    assert nothing.shape == (0, alone.shape[1]) and nothing.dtype == alone.dtype


def test_exact_labels_train_what_a_mentor_beside_the_student_trains(pair, tmp_path):
    """Over two epochs, with rows held out, an order by chance and a batch that is not full."""
    (base, mentor), objective = pair, kd(divergence="jensen-shannon")
    rows = write_rows(tmp_path / "rows.jsonl", [(prompt, f"{target} {n}") for n in range(3) for prompt, target in ROWS])
    settings = {"epochs": 2, "batch_size": 3, "held_out": 0.3}
    runs = [
        train(base, tmp_path / way, settings, rows=rows, objective={**objective, "soft_labels": way}, mentor=mentor)
        for way in ("exact", "online")
    ]
    assert (tmp_path / "exact/labels.arrow").exists() and not (tmp_path / "online/labels.arrow").exists()
    assert runs[0].losses == pytest.approx(runs[1].losses, abs=1e-5)
    assert largest_difference(runs[0].weights, runs[1].weights) < 1e-5


def test_half_precision_keeps_every_bit_of_bfloat16(causal, tmp_path):
    _, mentor = causal
    stored, _ = labels_of(mentor, tmp_path, precision="bf16")
    rows = [example(row) for row in ROWS]
    found = stored.at(torch.tensor(stored.rows_of(rows)), batch_labels(rows))
    assert found.dtype == torch.float16
    assert torch.equal(found.bfloat16().float(), found.float())
    with torch.no_grad():
        expected = torch.cat([target_logits(load(mentor).eval(), row)[0] for row in ROWS])
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.02)


def test_equal_rows_and_mentors_are_equal_bytes_and_the_memory_does_not_grow_with_the_file(causal, tmp_path):
    _, mentor = causal
    rows = [(prompt, f"{target} {n}") for n in range(30) for prompt, target in ROWS]
    stored, summary = labels_of(mentor, tmp_path / "a", rows=rows)
    labels_of(mentor, tmp_path / "b", rows=rows)
    assert (tmp_path / "a/labels.arrow").read_bytes() == (tmp_path / "b/labels.arrow").read_bytes()
    assert (tmp_path / "a/summary.json").read_bytes() == (tmp_path / "b/summary.json").read_bytes()
    assert not list((tmp_path / "a").glob(".*"))
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    for row in rows:
        stored.at(torch.tensor(stored.rows_of([example(row)])), batch_labels([example(row)]))
    assert tracemalloc.get_traced_memory()[1] < summary["bytes"] / 10
    tracemalloc.stop()
    assert pa.total_allocated_bytes() - before < summary["bytes"] / 10


# Top-k and its tail


def logits(seed: int, positions: int = 6) -> torch.Tensor:
    return 3 * torch.randn(positions, WIDTH, generator=torch.Generator().manual_seed(seed))


def known(mentor: torch.Tensor, k: int = K) -> TopK:
    parts = top_k(mentor, k)
    return TopK(parts["tokens"].long(), parts["logprobs"], parts["tails"], TEMPERATURES)


def collapsed(distribution: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Probabilities of the tokens of a position, and of all others together, by hand."""
    top = torch.stack([row[kept] for row, kept in zip(distribution, tokens, strict=True)])
    return torch.cat([top, (1 - top.sum(-1, keepdim=True))], dim=-1)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_divergence_is_that_of_the_k_tokens_and_the_rest(temperature):
    mentor, student = logits(1).double(), logits(2).double()
    tokens = mentor.topk(K).indices
    p = collapsed((mentor / temperature).softmax(-1), tokens)
    q = collapsed((student / temperature).softmax(-1), tokens)
    expected = float((p * (p / q).log()).sum())
    found = divergence_sum(student.float(), known(mentor.float()), temperature, "forward-kl", 0.1)
    assert float(found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_top_k_never_exceeds_the_whole_and_reaches_it_with_k(divergence):
    mentor, student = logits(1, 50), logits(2, 50)
    whole = float(divergence_sum(student, mentor, 2.0, divergence, 0.1))
    found = [float(divergence_sum(student, known(mentor, k), 2.0, divergence, 0.1)) for k in (1, 5, 20, WIDTH - 1)]
    assert found == sorted(found) and found[0] > 0
    assert found[-1] == pytest.approx(whole, rel=1e-4)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_mentor_itself_is_a_minimum_which_renormalised_top_k_moves_away_from(divergence):
    """The bias of naive top-k (arXiv 2503.16870): it pulls mass out of the tail. Here the gradient is nothing."""
    student = logits(1).requires_grad_()
    loss = divergence_sum(student, known(logits(1)), 1.0, divergence, 0.1)
    (gradient,) = torch.autograd.grad(loss, student)
    assert float(loss) == pytest.approx(0, abs=1e-5) and float(gradient.abs().max()) < 1e-5
    tokens = logits(1).topk(K).indices
    naive = log_softmax(logits(1).gather(1, tokens), -1)
    q = log_softmax(student, -1).gather(1, tokens)
    (biased,) = torch.autograd.grad((naive.exp() * (naive - q)).sum(), student)
    assert float(biased.abs().max()) > 0.01


def test_the_gradient_of_top_k_is_the_slope():
    mentor, student = known(logits(1, 2)), logits(2, 2).double()
    labels = torch.zeros(2, dtype=torch.int64)
    moved = student.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(mentor_kd_loss(moved, mentor, labels, weight=0.7, temperature=2.0), moved)
    for place in [(0, 0), (1, 7), (0, int(mentor.tokens[0, 0]))]:
        step = torch.zeros_like(student)
        step[place] = 0.02
        up, down = (
            float(mentor_kd_loss(student + sign * step, mentor, labels, weight=0.7, temperature=2.0))
            for sign in (1, -1)
        )
        assert float(gradient[place]) == pytest.approx((up - down) / 0.04, abs=2e-3)


def test_a_tail_of_nothing_is_still_a_number():
    mentor = torch.full((1, WIDTH), -torch.inf)
    mentor[0, :K] = torch.arange(K).float()
    student = mentor.clone().requires_grad_()
    for divergence in DIVERGENCES:
        loss = divergence_sum(logits(2, 1).requires_grad_(), known(mentor), 1.0, divergence, 0.1)
        assert bool(loss.isfinite())
    assert float(divergence_sum(student, known(mentor), 1.0, "forward-kl", 0.1)) == pytest.approx(0, abs=1e-5)


def test_labels_of_other_positions_and_unknown_temperatures_are_refused():
    with pytest.raises(ValueError, match="soft labels of 6 positions"):
        soft_label_loss(logits(2, 5), known(logits(1)), torch.zeros(5, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"know the temperatures 0\.5, 1, .* not 1\.1"):
        divergence_sum(logits(2), known(logits(1)), 1.1, "forward-kl", 0.1)


def test_what_is_lost_is_reported_beside_the_file(causal, tmp_path):
    _, mentor = causal
    _, summary = labels_of(mentor, tmp_path, form=SoftLabelForm(form="top-k", k=7))
    with torch.no_grad():
        z = torch.cat([target_logits(load(mentor).eval(), row)[0] for row in ROWS]).double()
    for temperature in TEMPERATURES:
        p = (z / temperature).softmax(-1)
        top, tokens = p.topk(7)
        spread = ((1 - top.sum(-1, keepdim=True)) / (p.shape[1] - 7)).expand_as(p).scatter(1, tokens, top)
        said = summary["temperatures"][f"{temperature:g}"]
        assert said["mass_covered"] == pytest.approx(float(top.sum(-1).mean()), abs=1e-4)
        assert said["lowest_mass_covered"] == pytest.approx(float(top.sum(-1).min()), abs=1e-4)
        assert said["kl_to_full"] == pytest.approx(float((p * (p / spread).log()).sum(-1).mean()), abs=1e-4)
    exact = labels_of(mentor, tmp_path / "exact")[1]["temperatures"]["2"]
    assert (exact["mass_covered"], exact["kl_to_full"]) == (1.0, 0.0)
    assert summary["bytes"] == (tmp_path / "labels.arrow").stat().st_size
    assert summary["bytes"] < (tmp_path / "exact/labels.arrow").stat().st_size


def test_a_training_with_top_k_has_the_loss_of_the_collapsed_distributions(pair, tmp_path):
    base, mentor = pair
    objective = kd(soft_labels="top-k", k=7)
    made = train(base, tmp_path / "out", {"epochs": 1}, objective=objective, mentor=mentor)
    student, teacher = load(base).eval(), load(mentor).eval()
    soft = hard = tokens = 0.0
    with torch.no_grad():
        for row in ROWS:
            (z, target), (t, _) = target_logits(student, row), target_logits(teacher, row)
            kept = t.topk(7).indices
            p, q = collapsed((t / 2).double().softmax(-1), kept), collapsed((z / 2).double().softmax(-1), kept)
            soft += float((p * (p / q).log()).sum())
            hard -= float(z.log_softmax(-1).gather(1, target[:, None]).sum())
            tokens += len(target)
    assert made.losses == pytest.approx([(soft + hard) / 2 / tokens], rel=1e-4)


# What is refused


@pytest.mark.reliability("data-file", cases=6)
def test_a_file_that_is_torn_or_of_another_kind_is_named(causal, tmp_path):
    labels_of(causal[1], tmp_path)
    whole = (tmp_path / "labels.arrow").read_bytes()
    plain = pa.BufferOutputStream()
    with pa.ipc.new_file(plain, pa.schema([("a", pa.int8())])) as writer:
        writer.write_batch(pa.record_batch({"a": pa.array([1], pa.int8())}))
    empty = pa.BufferOutputStream()
    with pa.ipc.new_file(empty, SoftLabels(tmp_path / "labels.arrow")._file.schema):
        pass
    bad = [
        b"",
        b"no",
        whole[:-1],
        whole[: len(whole) // 2],
        plain.getvalue().to_pybytes(),
        empty.getvalue().to_pybytes(),
    ]
    for content in bad:
        (tmp_path / "bad.arrow").write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.arrow: not a whole file of soft labels.*Delete"):
            SoftLabels(tmp_path / "bad.arrow")


@pytest.mark.reliability("data-file")
def test_labels_of_other_rows_are_refused_by_number(causal, tmp_path):
    stored, _ = labels_of(causal[1], tmp_path)
    changed = [example(ROWS[0]), example((ROWS[1][0], " 4")), example(("Q: other\nA:", ROWS[2][1]))]
    with pytest.raises(UserError, match="2 of 3 training rows have no soft labels"):
        stored.rows_of(changed)


def test_a_row_is_its_prompt_and_its_target_and_where_they_meet():
    one, other = Example([1, 2], [3, 4]), Example([1, 2, 3], [4])
    assert len({row_digest(row) for row in (one, other, Example([1, 2], [4, 3]))}) == 3
    assert row_digest(one) == row_digest(Example([1, 2], [3, 4]))


@pytest.mark.parametrize(
    ("change", "words"), [({"size": 128}, "128"), ({"tokenizer_sha256": "0"}, "tokenizers differ")]
)
def test_a_student_of_another_vocabulary_is_refused(causal, tmp_path, change, words):
    stored, _ = labels_of(causal[1], tmp_path)
    student = read_manifest(causal[0])
    stored.check_student(student)
    other = student.model_copy(update={"vocabulary": student.vocabulary.model_copy(update=change)})
    with pytest.raises(UserError, match=f"another vocabulary.*{words}.*one family"):
        stored.check_student(other)


def test_a_disk_that_is_too_small_for_the_whole_vocabulary_is_noticed_before_the_mentor_is_loaded(
    causal, tmp_path, monkeypatch
):
    monkeypatch.setattr(mentor_pass, "free_bytes", lambda _: 1000)
    monkeypatch.setattr(mentor_pass, "load_model", None)
    with pytest.raises(UserError, match=r"objective\.soft_labels = 'exact'.* GB.*top-k.*online"):
        labels_of(causal[1], tmp_path)


def test_as_many_tokens_as_the_vocabulary_has_are_refused(causal, tmp_path):
    with pytest.raises(UserError, match=r"objective\.k = 100.*100 tokens.*soft_labels: exact"):
        labels_of(causal[1], tmp_path, form=SoftLabelForm(form="top-k", k=100))


def test_an_unfinished_pass_leaves_no_file(causal, tmp_path, monkeypatch):
    def fail(*_given):
        raise RuntimeError("killed")

    monkeypatch.setattr(mentor_pass.Lost, "add", fail)
    with pytest.raises(RuntimeError, match="killed"):
        labels_of(causal[1], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"soft_labels": "top-k", "temperature": 1.1}, "temperatures 0.5, 1"),
        ({"soft_labels": "top-k", "mask": "repo-compat"}, "repo-compat"),
        ({"soft_labels": "sometimes"}, "exact"),
        ({"k": 0}, "greater"),
    ],
    ids=str,
)
def test_settings_that_no_file_can_serve_are_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        MentorKD.model_validate(kd(**settings))


@pytest.mark.parametrize(
    ("settings", "form"),
    [
        ({}, SoftLabelForm()),
        ({"k": 9}, SoftLabelForm()),
        ({"soft_labels": "top-k", "k": 9}, SoftLabelForm(form="top-k", k=9)),
        ({"soft_labels": "online"}, None),
        ({"lambda": 0.0}, None),
        ({"mask": "repo-compat"}, None),
    ],
    ids=str,
)
def test_labels_are_stored_where_the_loss_reads_target_tokens_only(settings, form):
    assert MentorKD.model_validate(kd(**settings)).soft_label_form == form


def test_top_k_without_a_file_is_refused_before_a_mentor_is_loaded(causal, tmp_path):
    base, mentor = causal
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    given = {"objective": kd(soft_labels="top-k"), "form": "text", "seed": 0, "progress": tmp_path / "progress"}
    outputs = {name: tmp_path / name for name in ("folder", "manifest", "summary")}
    with pytest.raises(UserError, match="stored before the training, and none are given"):
        script("train").main(rows=rows, base=base, mentor=mentor, train={"epochs": 1}, **given, **outputs)
