"""What only a GPU can show: no look at the host, graphs, and more than 2^31 elements."""

import pytest
import torch

from kdzoo.kernels.triton import TRITON, scale_rows
from kdzoo.losses import functional as KF

from .reference import CASES

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def inputs(rows: int, classes: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    student, teacher = (torch.rand(rows, classes, device="cuda", dtype=dtype) - 0.5 for _ in range(2))
    return student, teacher, torch.randint(classes, (rows,), device="cuda")


@pytest.fixture
def no_sync():
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_neither_loss_nor_backward_waits_for_the_device(case, request):
    given = inputs(64, 100)
    case.call(TRITON[case.name], *given)  # compiled before the watch begins
    factor = torch.ones((), device="cuda")
    scale_rows(given[0], factor)
    request.getfixturevalue("no_sync")
    _, grad = case.call(TRITON[case.name], *given)
    scale_rows(grad, factor)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_cuda_graph_replays_the_loss(case):
    given = inputs(64, 100)
    case.call(TRITON[case.name], *given)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss, grad = case.call(TRITON[case.name], *given)
    given[0].copy_(inputs(64, 100)[0])
    graph.replay()
    wanted, its_grad = case.call(TRITON[case.name], *given)
    assert torch.equal(loss, wanted) and torch.equal(grad, its_grad)


def test_more_than_2_to_the_31_elements():
    """8192 rows of 262145 classes in bfloat16, 4.3 GB a tensor; the last rows lie beyond 32-bit offsets."""
    student, teacher, _ = inputs(8192, 262_145, torch.bfloat16)
    loss, grad = TRITON["kd"](student, teacher, temperature=1.0)
    last = student[-2:].float().requires_grad_()
    wanted = KF.kd(last, teacher[-2:].float(), 1.0, reduction="none", backend="torch")
    torch.testing.assert_close(loss[-2:], wanted, rtol=1e-3, atol=1e-5)
    (slope,) = torch.autograd.grad(wanted.sum(), last)
    torch.testing.assert_close(grad[-2:].float(), slope, rtol=2**-7, atol=1e-8)
