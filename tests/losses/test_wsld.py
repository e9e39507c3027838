"""WSLD's weight is a constant to its gradient."""

import torch

from kdzoo.losses import functional as KF


def test_gradient_is_the_weighted_one_of_kd():
    student, teacher = (torch.randn(5, 7, dtype=torch.float64) for _ in range(2))
    student.requires_grad_()
    target = torch.randint(7, (5,))
    ours = torch.autograd.grad(KF.wsld(student, teacher, target, 2.0, 3.0, reduction="sum"), student)[0]
    rows = torch.autograd.grad(KF.kd(student, teacher, 3.0, reduction="sum"), student)[0]
    ratio = KF.cross_entropy(student, target, reduction="none") / KF.cross_entropy(teacher, target, reduction="none")
    torch.testing.assert_close(ours, 2.0 * (1 - (-ratio).exp())[:, None].detach() * rows, rtol=1e-5, atol=1e-8)


def test_a_student_surer_than_its_teacher_learns_less():
    teacher, target = torch.tensor([[2.0, 0.0, 0.0]]).double(), torch.tensor([0])
    weights = []
    for x in (20.0, 2.0, -2.0):
        student = torch.tensor([[x, 0.0, 0.0]]).double().requires_grad_()
        ours = torch.autograd.grad(KF.wsld(student, teacher, target, 1.0), student)[0]
        kd = torch.autograd.grad(KF.kd(student, teacher), student)[0]
        weights.append((ours.norm() / kd.norm().clamp_min(1e-12)).item())
    assert weights[0] < 1e-6 < weights[2] < 1
