"""Losses for certificates: golden values, references written out, gradients."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from kdzoo.robust.certify.training import (
    consistency_loss,
    macer_loss,
    noisy_logits,
    smooth_adv_attack,
    smooth_adv_loss,
    smooth_teacher_loss,
)
from kdzoo.robust.certify.training.noisy import make_noise


@pytest.fixture
def case(golden):
    part = golden["smoothing_losses"]
    return part, torch.tensor(part["logits"], dtype=torch.float64, requires_grad=True), torch.tensor(part["y"])


def test_consistency_is_golden(case):
    part, logits, target = case
    known = part["consistency"]
    cross_entropy, regulariser = consistency_loss(logits, target, known["lbd"], known["eta"])
    assert float(cross_entropy.detach()) == pytest.approx(part["ce_mean"], abs=1e-9)
    assert float(regulariser.detach()) == pytest.approx(known["loss"], abs=1e-9)
    (gradient,) = torch.autograd.grad(regulariser, logits)
    assert np.allclose(gradient, known["grad"], atol=1e-9)


def test_macer_is_golden_where_nothing_is_active(case):
    part, logits, target = case
    known = part["macer"]
    nll, hinge = macer_loss(logits, target, known["sigma"], 1.0, known["beta"], known["gamma"])
    assert float(hinge.detach()) == known["hinge_term_per_batch"] == 0
    mean = np.exp(logits.detach().numpy())
    mean = (mean / mean.sum(-1, keepdims=True)).mean(0)
    assert float(nll.detach()) == pytest.approx(-np.log(mean[range(3), target]).mean(), abs=1e-12)


def test_macer_hinge_by_hand(case):
    part, logits, _ = case
    known = part["macer"]
    p = np.sort(np.array(known["p"]), axis=1)[:, ::-1]
    margin = norm.ppf(p[:, 0]) - norm.ppf(p[:, 1])
    assert margin == pytest.approx(known["margin"], abs=1e-6)
    target = torch.tensor(np.argmax(known["p"], axis=1))  # now all are right
    _, hinge = macer_loss(logits, target, known["sigma"], 12.0, known["beta"], known["gamma"])
    assert float(hinge.detach()) == pytest.approx(12.0 * 0.125 * (8.0 - margin).sum() / 3, abs=1e-5)
    hinge.backward()
    assert logits.grad.isfinite().all() and logits.grad.abs().max() > 0


def test_macer_leaves_out_what_has_no_finite_margin():
    logits = torch.zeros(4, 2, 3)
    logits[:, 0, 0] = 1000.0  # soft votes of exactly 1 and 0
    logits.requires_grad_()
    nll, hinge = macer_loss(logits, torch.tensor([0, 1]), 0.25)
    (nll + hinge).backward()
    assert float(hinge.detach()) == 0 and logits.grad.isfinite().all()


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 3)).eval()


def test_smooth_adv_raises_the_smoothed_loss_inside_ball_and_box():
    model, images, target = network(), torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1])
    noise = make_noise(images, 0.25, copies=4)
    found = smooth_adv_attack(model, images, target, noise, eps=0.5, steps=5)
    assert (found - images).flatten(1).norm(dim=1).max() <= 0.5 + 1e-6 and found.min() >= 0 and found.max() <= 1
    before, after = (
        -noisy_logits(model, x, noise).softmax(-1).mean(0).gather(1, target[:, None]).log() for x in (images, found)
    )
    assert (after > before).all()
    (alone,) = smooth_adv_attack(model, images[2:3], target[2:3], noise[:, 2:3], eps=0.5, steps=5)
    assert torch.allclose(alone, found[2], atol=1e-6)
    loss = smooth_adv_loss(model, found, target, noise)
    by_hand = np.mean([float(nn.functional.cross_entropy(model(found + e), target).detach()) for e in noise])
    assert float(loss.detach()) == pytest.approx(by_hand, rel=1e-6)


def test_smooth_teacher_by_hand():
    student, teacher = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    student.requires_grad_()
    target = (teacher / 2).softmax(-1).mean(0)
    terms = [target * (target.log() - (s / 2).log_softmax(-1)) for s in student]
    by_hand = 4 * torch.stack(terms).sum(-1).mean()
    loss = smooth_teacher_loss(student, teacher, 2.0)
    assert float(loss.detach()) == pytest.approx(float(by_hand.detach()), rel=1e-12)
    loss.backward()
    assert student.grad.abs().max() > 0
    from kdzoo.losses import functional as KF

    one = smooth_teacher_loss(student[:1], teacher[:1], 4.0)
    assert float(one.detach()) == pytest.approx(float(KF.kd(student[0], teacher[0], 4.0).detach()), rel=1e-9)


def test_wrong_shapes_are_told():
    for call in (
        lambda: consistency_loss(torch.randn(1, 2, 3), torch.tensor([0, 1])),
        lambda: macer_loss(torch.randn(2, 3), torch.tensor([0, 1]), 0.25),
        lambda: smooth_teacher_loss(torch.randn(2, 3), torch.randn(2, 3)),
        lambda: make_noise(torch.rand(1, 1, 2, 2), 0.0, 2),
        lambda: smooth_adv_attack(
            network(), torch.rand(1, 3, 2, 2), torch.tensor([0]), torch.rand(1, 1, 3, 2, 2), eps=0
        ),
    ):
        with pytest.raises(ValueError, match="expected logits|must be"):
            call()


def test_macer_has_finite_gradients_where_the_second_vote_is_almost_nothing():
    logits = torch.zeros(1, 2, 3)
    logits[0, :, 0] = 6.0  # the soft votes: 1 and 2e-42, whose quantile has an infinite slope in float32
    logits.requires_grad_()
    sum(macer_loss(logits, torch.tensor([0, 0]), sigma=0.25)).backward()
    assert logits.grad.isfinite().all()
