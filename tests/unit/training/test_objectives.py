"""The losses, as properties. Each of the first three would have caught a fault of published distillation code."""

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, pad

from distillery.training import losses
from distillery.training.losses import IGNORE, cross_entropy_loss, soft_label_loss
from distillery.training.objectives.mentor_kd import mentor_kd_loss, soft_label_loss_as_published

DIVERGENCES = ["forward-kl", "reverse-kl", "skew-forward-kl", "skew-reverse-kl", "jensen-shannon"]
BATCH, TOKENS, WIDTH = 3, 7, 11


def a_batch(seed=0):
    """Student logits with gradient, mentor logits, and labels whose first two positions are prompt."""
    chance = torch.Generator().manual_seed(seed)
    student = torch.randn(BATCH, TOKENS, WIDTH, generator=chance).requires_grad_()
    mentor = torch.randn(BATCH, TOKENS, WIDTH, generator=chance)
    labels = torch.randint(WIDTH, (BATCH, TOKENS), generator=chance)
    labels[:, :2] = IGNORE
    return student, mentor, labels


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_equal_logits_have_no_divergence(divergence, temperature):
    student, _, labels = a_batch()
    loss = soft_label_loss(student, student.detach(), labels, temperature, divergence)
    torch.testing.assert_close(loss, torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_different_logits_diverge(divergence):
    assert soft_label_loss(*a_batch(), divergence=divergence) > 0.01


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("width", [1, 60])
def test_padding_does_not_change_the_soft_label_loss(divergence, width):
    student, mentor, labels = a_batch()
    padded = [
        pad(student, (0, 0, 0, width)),
        pad(mentor, (0, 0, 0, width), value=3.0),
        pad(labels, (0, width), value=IGNORE),
    ]
    expected = soft_label_loss(student, mentor, labels, 2.0, divergence)
    torch.testing.assert_close(soft_label_loss(*padded, 2.0, divergence), expected)


def test_padding_does_not_change_the_cross_entropy():
    student, _, labels = a_batch()
    loss = cross_entropy_loss(pad(student, (0, 0, 0, 9), value=5.0), pad(labels, (0, 9), value=IGNORE))
    torch.testing.assert_close(loss, cross_entropy_loss(student, labels))


def test_padding_changes_the_published_loss():
    student, mentor, labels = a_batch()
    padded = [pad(student, (0, 0, 0, 9)), pad(mentor, (0, 0, 0, 9), value=3.0), pad(labels, (0, 9), value=IGNORE)]
    published = soft_label_loss_as_published(student, mentor, labels)
    assert not torch.isclose(soft_label_loss_as_published(*padded), published, rtol=0.05)
    assert not torch.isclose(soft_label_loss(student, mentor, labels), published, rtol=0.01)  # it counts the prompt too


def test_a_weight_of_zero_is_plain_training_bit_for_bit():
    student, mentor, labels = a_batch()
    plain = cross_entropy_loss(student, labels)
    plain_gradient = torch.autograd.grad(plain, student)[0]
    joint = mentor_kd_loss(student, mentor, labels, weight=0.0, temperature=2.0)
    assert torch.equal(joint, plain)
    assert torch.equal(torch.autograd.grad(joint, student)[0], plain_gradient)


def test_a_weight_of_one_is_the_soft_labels_alone():
    student, mentor, labels = a_batch()
    joint = mentor_kd_loss(student, mentor, labels, weight=1.0, temperature=2.0)
    torch.testing.assert_close(joint, soft_label_loss(student, mentor, labels, 2.0))


def test_the_joint_loss_is_the_weighted_sum():
    student, mentor, labels = a_batch()
    joint = mentor_kd_loss(student, mentor, labels, weight=0.3, temperature=2.0)
    expected = 0.7 * cross_entropy_loss(student, labels) + 0.3 * soft_label_loss(student, mentor, labels, 2.0)
    torch.testing.assert_close(joint, expected)


def test_loss_and_gradient_are_those_of_torch():
    student, mentor, labels = a_batch()
    kept = labels != IGNORE
    p, q = log_softmax(mentor[kept] / 2, dim=-1), log_softmax(student[kept] / 2, dim=-1)
    expected = kl_div(q, p, log_target=True, reduction="batchmean")
    ours = soft_label_loss(student, mentor, labels, 2.0)
    torch.testing.assert_close(ours, expected)
    gradient = torch.autograd.grad(ours, student)[0]
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, student)[0])
    by_hand = torch.zeros_like(student)  # d KL / d student logits = (softmax q - softmax p) / (tau * positions)
    by_hand[kept] = (q.exp() - p.exp()) / (2 * kept.sum())
    torch.testing.assert_close(gradient, by_hand)
    torch.testing.assert_close(
        cross_entropy_loss(student, labels), cross_entropy(student.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)
    )


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_gradient_is_that_of_finite_differences(divergence):
    """In float64, on an example small enough for every derivative."""
    student, mentor, labels = a_batch()
    mentor, labels = mentor[:1, :4, :5], labels[:1, :4].clamp(max=4)
    labels[:, :2] = IGNORE
    student = student[:1, :4, :5].detach()
    step = 1e-2
    student.requires_grad_()
    gradient = torch.autograd.grad(soft_label_loss(student, mentor, labels, 1.5, divergence), student)[0]
    with torch.no_grad():
        for place in [(0, 2, 0), (0, 3, 4)]:
            up, down = student.clone(), student.clone()
            up[place] += step
            down[place] -= step
            rise = soft_label_loss(up, mentor, labels, 1.5, divergence) - soft_label_loss(
                down, mentor, labels, 1.5, divergence
            )
            torch.testing.assert_close(gradient[place], rise / (2 * step), rtol=1e-2, atol=1e-4)
    assert gradient[:, :2].abs().max() == 0  # nothing flows into the prompt


def test_skew_divergences_tend_to_the_plain_ones():
    batch = a_batch()
    for skewed, plain in [("skew-forward-kl", "forward-kl"), ("skew-reverse-kl", "reverse-kl")]:
        loss = soft_label_loss(*batch, divergence=skewed, skew=1e-6)
        torch.testing.assert_close(loss, soft_label_loss(*batch, divergence=plain), rtol=1e-3, atol=1e-4)


def test_jensen_shannon_is_symmetric_and_bounded():
    student, mentor, labels = a_batch()
    one = soft_label_loss(20 * student, 20 * mentor, labels, divergence="jensen-shannon")
    other = soft_label_loss(20 * mentor, 20 * student, labels, divergence="jensen-shannon")
    torch.testing.assert_close(one, other)
    assert one < 0.6932  # ln 2


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_pieces_add_up_to_the_whole(divergence, monkeypatch):
    batch = a_batch()
    whole = soft_label_loss(*batch, 2.0, divergence)
    gradient = torch.autograd.grad(whole, batch[0])[0]
    monkeypatch.setattr(losses, "PIECE", 3 * WIDTH)
    pieces = soft_label_loss(*batch, 2.0, divergence)
    torch.testing.assert_close(pieces, whole)
    torch.testing.assert_close(torch.autograd.grad(pieces, batch[0])[0], gradient)


def test_micro_batches_add_up_to_the_batch():
    student, mentor, labels = a_batch()
    labels[0, 3:] = IGNORE  # unequal numbers of tokens: a mean of means would be wrong
    items, positions = (labels != IGNORE).sum(), labels.numel()
    for mask in ("labels", "repo-compat"):
        options = {"weight": 0.3, "temperature": 2.0, "mask": mask}
        parts = [
            mentor_kd_loss(
                student[row : row + 1],
                mentor[row : row + 1],
                labels[row : row + 1],
                items=items,
                positions=positions,
                **options,
            )
            for row in range(BATCH)
        ]
        torch.testing.assert_close(sum(parts), mentor_kd_loss(student, mentor, labels, **options))


def test_gathered_positions_give_the_same_loss():
    student, mentor, labels = a_batch()
    kept = labels != IGNORE
    whole = mentor_kd_loss(student, mentor, labels, weight=0.3, temperature=2.0)
    gathered = mentor_kd_loss(student[kept], mentor[kept], labels[kept], weight=0.3, temperature=2.0)
    torch.testing.assert_close(gathered, whole)


def test_half_precision_logits_are_summed_in_float32():
    student, mentor, labels = a_batch()
    loss = mentor_kd_loss(student.bfloat16(), mentor.bfloat16(), labels, weight=0.3, temperature=2.0)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(
        loss, mentor_kd_loss(student, mentor, labels, weight=0.3, temperature=2.0), rtol=0.02, atol=0.01
    )


def test_the_mentor_gets_no_gradient():
    student, mentor, labels = a_batch()
    mentor.requires_grad_()
    soft_label_loss(student, mentor, labels).backward()
    assert mentor.grad is None


@pytest.mark.parametrize(
    ("student", "mentor", "labels", "words"),
    [
        ((2, 5, 7), (2, 5, 8), (2, 5), "differ"),
        ((2, 5, 7), (2, 5, 7), (2, 4), "do not fit"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(student, mentor, labels, words):
    with pytest.raises(ValueError, match=words):
        soft_label_loss(torch.zeros(student), torch.zeros(mentor), torch.zeros(labels, dtype=torch.int64))


def test_a_batch_without_loss_is_refused():
    with pytest.raises(ValueError, match="no token carries loss"):
        cross_entropy_loss(torch.zeros(1, 2, 3), torch.full((1, 2), IGNORE))
