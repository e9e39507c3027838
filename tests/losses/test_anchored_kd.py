"""Anchored KD, which contains KD and DPO: golden values, special cases, invariances, errors."""

import pytest
import torch
from label_case import drawn

from kdzoo.errors import ConfigError
from kdzoo.losses import build_loss
from kdzoo.losses import functional as KF


def test_anchored_kd_contains_kd():
    student, teacher = drawn(6, 5), drawn(6, 5, seed=1)
    anchored = KF.anchored_kd(student, (teacher / 4).softmax(dim=1), temperature=4.0)
    torch.testing.assert_close(16 * anchored, KF.kd(student, teacher, temperature=4.0))


def test_anchored_kd_contains_dpo():
    student, reference = drawn(6, 2), drawn(6, 2, seed=1)
    beta, chosen = 0.3, torch.tensor([0, 1, 1, 0, 0, 1])
    sign = (1 - 2 * chosen).double()
    log_ratios = student.log_softmax(1) - reference.log_softmax(1)
    dpo = -torch.nn.functional.logsigmoid(beta * sign * (log_ratios[:, 0] - log_ratios[:, 1])).mean()
    torch.testing.assert_close(KF.anchored_kd(student, chosen, reference, temperature=1 / beta), dpo)


def test_anchored_kd_is_least_at_the_anchor_plus_q():
    q, anchor = drawn(6, 5).softmax(dim=1), drawn(6, 5, seed=1)
    best = (anchor + 2.0 * q.log() + 5).requires_grad_()
    loss = KF.anchored_kd(best, q, anchor, temperature=2.0)
    loss.backward()
    assert loss.abs() < 1e-12 and best.grad.abs().max() < 1e-12
    shifted = KF.anchored_kd(drawn(6, 5, seed=2) + 3, q, anchor - 8, 2.0)
    torch.testing.assert_close(shifted, KF.anchored_kd(drawn(6, 5, seed=2), q, anchor, 2.0))


def test_anchored_kd_gives_the_anchor_and_target_no_gradient():
    anchor, q = drawn(3, 4).requires_grad_(), drawn(3, 4, seed=1).softmax(1).detach().requires_grad_()
    KF.anchored_kd(drawn(3, 4, seed=2).requires_grad_(), q, anchor).backward()
    assert anchor.grad is None and q.grad is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y: KF.anchored_kd(x, y, x[:, :2]), "student_logits and anchor_logits"),
        (lambda x, y: KF.anchored_kd(x, y, temperature=0.0), "temperature must be above 0"),
        (lambda x, y: KF.anchored_kd(x, 5 * x), "target must hold soft labels"),
        (lambda x, y: build_loss(dict(type="AnchoredKD", anchor="student")), "anchor"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises((ValueError, ConfigError), match=words):
        call(torch.randn(2, 3), torch.tensor([0, 2]))
