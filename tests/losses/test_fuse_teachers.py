"""Fusing teachers under a KL constraint: golden values, special cases, invariances, errors."""

import pytest
import torch
from label_case import divergence, drawn

from kdzoo.losses import functional as KF


def test_fusion_of_one_or_equal_teachers_changes_nothing():
    logits = drawn(6, 5)
    torch.testing.assert_close(KF.fuse_teachers([logits]), logits)
    torch.testing.assert_close(KF.fuse_teachers([logits, logits, logits], radius=0.4), logits)


def test_fusion_between_the_mean_and_the_best():
    teachers, target = drawn(3, 6, 5), torch.arange(6) % 5
    torch.testing.assert_close(KF.fuse_teachers(teachers, radius=0.0), teachers.mean(dim=0))
    log_p = teachers.log_softmax(dim=2)
    confident = (log_p.exp() * log_p).sum(dim=2).argmax(dim=0)
    right = log_p[:, torch.arange(6), target].argmax(dim=0)
    rows = torch.arange(6)
    torch.testing.assert_close(KF.fuse_teachers(teachers, radius=2.0), teachers[confident, rows])
    torch.testing.assert_close(KF.fuse_teachers(teachers, 2.0, target), teachers[right, rows])
    one_hot = torch.eye(5, dtype=torch.float64)[target]
    torch.testing.assert_close(KF.fuse_teachers(teachers, 0.3, one_hot), KF.fuse_teachers(teachers, 0.3, target))


def test_fusion_by_hand_for_two_teachers():
    """Weights from the label's log-probabilities, found on a fine grid."""
    teachers, target, radius = drawn(2, 4, 3), torch.tensor([0, 2, 1, 0]), 0.15
    fused = KF.fuse_teachers(teachers, radius, target)
    grid = torch.linspace(0.5, 1, 2_000_001, dtype=torch.float64)[:-1]
    bound = grid[divergence(torch.stack([grid, 1 - grid], dim=1)) <= radius][-1]
    for row in range(4):
        log_p = teachers[:, row].log_softmax(dim=1)[:, target[row]]
        first = bound if log_p[0] > log_p[1] else 1 - bound
        torch.testing.assert_close(
            fused[row], first * teachers[0, row] + (1 - first) * teachers[1, row], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("target", [None, torch.arange(6) % 5])
def test_fusion_follows_permutations_and_shifts(target):
    teachers = drawn(3, 6, 5)
    fused = KF.fuse_teachers(teachers, 0.3, target)
    torch.testing.assert_close(KF.fuse_teachers(teachers[[2, 0, 1]], 0.3, target), fused)
    shifted = KF.fuse_teachers(teachers + drawn(3, 6, 1, seed=1), 0.3, target)
    torch.testing.assert_close(shifted.softmax(dim=1), fused.softmax(dim=1))


def test_fusion_with_one_weight_a_teacher():
    teachers = drawn(2, 6, 5)
    fused = KF.fuse_teachers(teachers, 0.3, per_image=False)
    weights = torch.linalg.lstsq(teachers.flatten(1).T, fused.flatten()[:, None]).solution
    torch.testing.assert_close(weights.T @ teachers.flatten(1), fused.flatten()[None])
    assert weights.sum().item() == pytest.approx(1) and divergence(weights[:, 0]).item() == pytest.approx(0.3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 600.0])
def test_fusion_is_finite_and_passes_no_gradient(dtype, scale):
    teachers = (drawn(3, 6, 2, scale=1.0) * scale).to(dtype).requires_grad_()
    fused = KF.fuse_teachers(teachers, 0.3)
    assert fused.dtype == torch.float32 and fused.isfinite().all() and not fused.requires_grad


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y: KF.fuse_teachers([]), "at least one teacher"),
        (lambda x, y: KF.fuse_teachers([x, x[:, :2]]), "teacher_logits must have one shape"),
        (lambda x, y: KF.fuse_teachers([x[0]]), "teacher_logits must be floating logits"),
        (lambda x, y: KF.fuse_teachers([x], target=y + 9), "target must hold class indices"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(torch.randn(2, 3), torch.tensor([0, 2]))
