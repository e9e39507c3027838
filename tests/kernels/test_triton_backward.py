"""The last backward of a graph leaves the gradient where the kernel wrote it; one that is kept gets a copy."""

import pytest
import torch

from kdzoo.kernels import dispatch
from kdzoo.kernels.triton import scale_rows
from kdzoo.losses import functional as KF


@pytest.fixture
def seen(monkeypatch):
    """Whether each product in a backward was taken in place."""
    seen = []

    def watch(grad, factor, in_place=False):
        seen.append(in_place)
        return scale_rows(grad, factor, in_place)

    monkeypatch.setattr(dispatch, "scale_rows", watch)
    monkeypatch.setattr(dispatch, "_failed", set())
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_retained_graph_gives_the_same_again(dtype, device, seen):
    student, teacher = torch.randn(2, 3, 37, device=device).to(dtype)
    wide = student.float().requires_grad_()
    (wanted,) = torch.autograd.grad(3 * KF.kd(wide, teacher.float(), backend="torch"), wide)
    student.requires_grad_()
    loss = 3 * KF.kd(student, teacher, backend="triton")
    for keep in (True, False):
        (grad,) = torch.autograd.grad(loss, student, retain_graph=keep)
        torch.testing.assert_close(grad.float(), wanted, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)
    assert seen == [False, True]
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_the_operators_own_result_stays(device, seen):
    student, teacher = torch.randn(2, 3, 37, device=device)
    student.requires_grad_()
    loss, saved = torch.ops.kdzoo.kd(student, teacher, None, 4.0, False, "mean", "triton", True)
    kept = saved.clone()
    (2 * loss).backward()
    assert seen == [False] and torch.equal(saved, kept)
    torch.testing.assert_close(student.grad, 2 * kept)


def test_several_gradients_at_once(device, seen):
    student, teacher = torch.randn(2, 3, 37, device=device)
    rows = KF.kd(student.requires_grad_(), teacher, reduction="none", backend="triton")
    (each,) = torch.autograd.grad(rows, student, torch.eye(3, device=device), is_grads_batched=True)
    assert not seen and not dispatch._failed
    (sum_,) = torch.autograd.grad(KF.kd(student, teacher, reduction="sum", backend="torch"), student)
    torch.testing.assert_close(each.sum(dim=0), sum_, rtol=1e-4, atol=1e-6)
