"""Comp-sum losses and their smooth adversarial form: golden values, special cases, invariances, errors."""

import math

import pytest
import torch
from label_case import GOLDEN, drawn, float64

from kdzoo.losses import functional as KF


@pytest.mark.parametrize("name", [k for k in GOLDEN if k.startswith("smooth_adv")])
def test_smooth_adversarial_golden(name):
    """The golden values are of the same formula from memory: they pin it, they do not verify it."""
    golden = GOLDEN[name]
    clean, adversarial = (float64(golden[k]).requires_grad_() for k in ("h_clean", "h_adv"))
    settings = [golden[k] for k in ("tau", "rho", "nu")]
    rows = KF.smooth_adversarial_comp_sum(clean, adversarial, torch.tensor(golden["labels"]), *settings, "none")
    torch.testing.assert_close(rows, float64(golden["per_sample"]), rtol=1e-9, atol=0)
    rows.mean().backward()
    torch.testing.assert_close(clean.grad, float64(golden["grad_h_clean"]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(adversarial.grad, float64(golden["grad_h_adv"]), rtol=1e-9, atol=1e-9)


def test_comp_sum_names_its_members():
    logits, target = drawn(6, 5), torch.arange(6) % 5
    p = logits.softmax(dim=1)[torch.arange(6), target]
    torch.testing.assert_close(KF.comp_sum(logits, target), KF.cross_entropy(logits, target))
    for tau, expected in ((0.0, 1 / p - 1), (1.7, (1 - p**0.7) / 0.7), (2.0, 1 - p)):
        torch.testing.assert_close(KF.comp_sum(logits, target, tau, reduction="none"), expected)
    near = KF.comp_sum(logits, target, 1 + 1e-9)
    torch.testing.assert_close(near, KF.cross_entropy(logits, target), rtol=1e-7, atol=0)


def test_comp_sum_goes_on_as_a_tangent_where_it_would_overflow():
    margin = torch.tensor([59.9, 60.1, 1e4], dtype=torch.float64)
    logits = torch.stack([margin, torch.zeros(3, dtype=torch.float64)], dim=1).requires_grad_()
    rows = KF.comp_sum(logits, torch.ones(3, dtype=torch.long), tau=0.0, reduction="none")
    torch.testing.assert_close(rows, math.exp(60) * float64([math.exp(-0.1), 1.1, 1e4 - 59]))
    rows.sum().backward()
    torch.testing.assert_close(logits.grad[:, 0], math.exp(60) * float64([math.exp(-0.1), 1.0, 1.0]))


def test_smooth_adversarial_form_without_a_perturbation_is_comp_sum():
    logits, target = drawn(4, 5).requires_grad_(), torch.arange(4)
    loss = KF.smooth_adversarial_comp_sum(logits, logits.detach(), target, tau=1.5, rho=2.0)
    torch.testing.assert_close(loss, KF.comp_sum(logits / 2, target, 1.5))
    loss.backward()
    assert logits.grad.isfinite().all()
    moved = KF.smooth_adversarial_comp_sum(logits, logits + 7, target, tau=1.5, rho=2.0)
    torch.testing.assert_close(moved, loss)  # a shift moves no margin


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y: KF.comp_sum(x, y, tau=-0.1), "tau must be 0 or more"),
        (lambda x, y: KF.smooth_adversarial_comp_sum(x, x[:1], y), "logits and perturbed_logits"),
        (lambda x, y: KF.smooth_adversarial_comp_sum(x, x, x.softmax(1)), "target must be class indices"),
        (lambda x, y: KF.smooth_adversarial_comp_sum(x, x, y, rho=0.0), "rho must be above 0"),
        (lambda x, y: KF.smooth_adversarial_comp_sum(x, x, y, nu=-1.0), "nu must be 0 or more"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(torch.randn(2, 3), torch.tensor([0, 2]))
