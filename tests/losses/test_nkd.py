"""NKD's identities with DKD and cross-entropy."""

import torch

from kdzoo.losses import functional as KF


def drawn(classes=7):
    student, teacher = (torch.randn(5, classes, dtype=torch.float64) * 3 for _ in range(2))
    return student.requires_grad_(), teacher, torch.randint(classes, (5,))


def label_probability(teacher, target):
    return teacher.softmax(dim=1).gather(1, target[:, None]).squeeze(1)


def test_with_two_classes_it_is_cross_entropy_weighted_by_the_teacher():
    student, teacher, target = drawn(2)
    expected = label_probability(teacher, target) * KF.cross_entropy(student, target, reduction="none")
    torch.testing.assert_close(KF.nkd(student, teacher, target, 3.5, 3.0, reduction="none"), expected)


def test_the_non_target_part_has_the_gradient_of_nckd():
    student, teacher, target = drawn()
    part = KF.nkd(student, teacher, target, 2.5, 3.0) - KF.nkd(student, teacher, target, 0.0)
    ours = torch.autograd.grad(part, student)
    torch.testing.assert_close(ours, torch.autograd.grad(KF.dkd(student, teacher, target, 0.0, 2.5, 3.0), student))


def test_gradient_of_the_target_part():
    student, teacher, target = drawn()
    (ours,) = torch.autograd.grad(KF.nkd(student, teacher, target, gamma=0.0), student)
    q_y = label_probability(teacher, target)[:, None]
    expected = q_y * (student.softmax(dim=1) - torch.eye(7)[target]) / len(student)
    torch.testing.assert_close(ours, expected)
