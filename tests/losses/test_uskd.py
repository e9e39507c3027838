"""USKD: soft labels, gradients, its head."""

import pytest
import torch

from kdzoo.errors import ConfigError
from kdzoo.losses import build_loss
from kdzoo.losses import functional as KF
from kdzoo.output import ModelOutput


def drawn(classes=7):
    student, weak = (torch.randn(5, classes, dtype=torch.float64).requires_grad_() for _ in range(2))
    return student, weak, torch.randint(classes, (5,))


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_one_hot_rows_are_their_class_indices(classes):
    student, weak, target = drawn(classes)
    hard = KF.uskd(student, weak, target, beta=1.0, reduction="none")
    torch.testing.assert_close(KF.uskd(student, weak, torch.eye(classes)[target], beta=1.0, reduction="none"), hard)


@pytest.mark.parametrize("classes", [2, 3])
def test_two_labels_may_leave_one_class_or_none(classes):
    student, weak, _ = drawn(classes)
    soft = torch.tensor([[0.6, 0.4, 0.0]])[:, :classes].expand(5, classes)
    loss = KF.uskd(student, weak, soft, alpha=0.0, beta=1.0, mu=0.0)
    loss.backward()
    assert loss == 0 and torch.isfinite(student.grad).all()  # a softmax over one class, or over none, teaches nothing


def test_the_paper_s_ranking_gives_the_specified_values(golden_losses):
    for name, expected in (("B8_C10", 2.28261), ("B4_C100", 8.03280)):
        case = golden_losses["cases"][name]
        student, weak = (torch.tensor(case[key], dtype=torch.float64) for key in ("student", "weak_logits"))
        loss = KF.uskd(student, weak, torch.tensor(case["target"]), rank_mode="paper")
        assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_the_student_learns_through_its_log_probabilities_alone():
    student, weak, target = drawn()
    (ours,) = torch.autograd.grad(KF.uskd(student, weak, target, 1.0, 0.0, 0.0), student)
    probability = student.softmax(dim=1).detach()
    square = probability.gather(1, target[:, None]) ** 2
    share = 1 + square - square.mean()
    torch.testing.assert_close(ours, share * (probability - torch.eye(7)[target]) / len(student))
    (ours,) = torch.autograd.grad(KF.uskd(student, weak, target), weak)
    smooth = 0.9 * torch.eye(7)[target] + 0.1 / 7
    torch.testing.assert_close(ours, 0.005 * (weak.softmax(dim=1) - smooth).detach() / len(weak))


def output(*features):
    return ModelOutput(torch.randn(2, 7), list(features))


def test_the_head_reads_maps_and_tokens_and_reaches_the_backbone():
    for feature in (torch.randn(2, 5, 4, 4), torch.randn(2, 9, 5)):
        feature.requires_grad_()
        student = output(feature, torch.randn(2, 8, 2, 2))
        loss = build_loss(dict(type="USKD", alpha=0.0, beta=0.0, mu=1.0), student_example=student)
        assert loss.head.weight.shape == (7, 5)
        loss(student, None, torch.tensor([1, 2])).backward()
        assert feature.grad.abs().max() > 0 and loss.head.weight.grad.abs().max() > 0


def test_a_missing_stage_is_named():
    with pytest.raises(ConfigError, match=r"losses\[1\]: USKD: stage must be one of .* 1 stage maps, got -2"):
        build_loss(dict(type="USKD"), "losses[1]", student_example=output(torch.randn(2, 5, 4, 4)))
    loss = build_loss(dict(type="USKD", stage=-1), student_example=output(torch.randn(2, 5, 4, 4)))
    with pytest.raises(ValueError, match="0 stage maps"):
        loss(output(), None, torch.tensor([1, 2]))
