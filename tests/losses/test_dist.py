"""DIST's parts, and what it does with constant rows."""

import pytest
import torch

from kdzoo.losses import functional as KF


def test_parts_add_up():
    student, teacher = (torch.randn(5, 7, dtype=torch.float64) for _ in range(2))
    parts = [KF.dist(student, teacher, beta, gamma, 4.0) for beta, gamma in ((1.0, 0.0), (0.0, 1.0))]
    torch.testing.assert_close(2 * parts[0] + 3 * parts[1], KF.dist(student, teacher, 2.0, 3.0, 4.0))
    assert all(0 < part < 2 * 16 for part in parts)


def test_one_image_has_no_intra_class_part():
    student, teacher = torch.randn(1, 7).requires_grad_(), torch.randn(1, 7)
    loss = KF.dist(student, teacher, 0.0, 1.0, 4.0)
    loss.backward()
    assert loss == 16 and not student.grad.any()


def test_a_zero_initialised_classifier_gets_no_gradient_of_a_million():
    student, teacher = torch.zeros(4, 7).requires_grad_(), torch.randn(4, 7)
    KF.dist(student, teacher).backward()
    assert not student.grad.any()
    near = (torch.randn(4, 7) * 1e-3).requires_grad_()
    KF.dist(near, teacher).backward()
    assert 0 < near.grad.abs().max() < 1e4


def test_equal_logits_leave_about_a_millionth():
    teacher = torch.randn(64, 100) * 3
    assert KF.dist(teacher, teacher).item() == pytest.approx(0, abs=1e-4)
