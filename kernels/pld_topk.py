"""An approximation of PLD: only the first k places of the ranking have terms of their own."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kdzoo.kernels.launch import fused
from kdzoo.kernels.pld import merge
from kdzoo.kernels.rows import again, load, row_of, softmax_stats


@triton.jit
def pld_topk_kernel(
    student,  # [B, C]
    student_stride,
    teacher,  # [B, C]
    teacher_stride,
    target,  # unused: the label leads ``first``
    first,  # [B, K] int64, the classes of the first K places
    in_first,  # [B, C] uint8, 1 at those
    places,  # K
    loss,  # [B] float32
    grad,  # [B, C]
    units,  # C / ALIGN
    reduction_scale,
    temperature,
    PLACES: tl.constexpr,  # K, up to a power of two
    GRAD: tl.constexpr,
    ALIGN: tl.constexpr,
    ONE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    classes = units * ALIGN
    s_row, t_row = row_of(student, student_stride, ALIGN), row_of(teacher, teacher_stride, ALIGN)
    g_row, in_row = row_of(grad, units, ALIGN), row_of(in_first, units, ALIGN)
    scale = 1.0 / temperature
    t = load(t_row, tl.arange(0, BLOCK), classes)
    t_top, t_sum = softmax_stats(t, t_row, classes, scale, -1, ONE, BLOCK)

    # All other places are one number to the logsumexp of each of the first.
    s = tail(s_row, in_row, tl.arange(0, BLOCK), classes)
    top = float("-inf")
    below = 0.0
    for start in tl.range(0, classes, BLOCK):
        block = s
        if not ONE:
            block = tail(s_row, in_row, start + tl.arange(0, BLOCK), classes)
        high = tl.max(block, 0)
        part = tl.sum(tl.exp(block - tl.where(high == float("-inf"), 0.0, high)), 0)
        top, below = merge(top, below, high, part)

    place = tl.arange(0, PLACES)
    inside = place < places
    column = tl.load(row_of(first, places, 1) + place, mask=inside, other=0)
    x = tl.load(s_row + column, mask=inside, other=float("-inf")).to(tl.float32)
    y = tl.load(t_row + column, mask=inside, other=float("-inf")).to(tl.float32)
    log_weight = scale * (y - t_top) - tl.log(t_sum)
    weight = tl.exp(log_weight)
    tops, sums = tl.associative_scan((x, tl.where(inside, 1.0, 0.0)), 0, merge, reverse=True)
    tops, sums = merge(tops, sums, top, below)
    from_here = tops + tl.log(sums)
    total = tl.sum(tl.where(inside, weight * (from_here - x), 0.0), 0)
    tl.store(loss + tl.program_id(0), total)
    if GRAD:
        u = tl.where(inside, log_weight - from_here, float("-inf"))
        tops, sums = tl.associative_scan((u, tl.where(inside, 1.0, 0.0)), 0, merge)
        g = (tl.exp(x + tops) * sums - weight) * reduction_scale
        tl.store(g_row + column, g.to(grad.dtype.element_ty), mask=inside)
        all_top = tl.max(tops, 0)
        all_sum = tl.sum(tl.where(place == PLACES - 1, sums, 0.0), 0) * reduction_scale
        for start in tl.range(0, classes, BLOCK):
            cols = start + tl.arange(0, BLOCK)
            rest = again(s, s_row, cols, classes, ONE)
            out = (cols < classes) & (tl.load(in_row + cols, mask=cols < classes, other=1) == 0)
            tl.store(g_row + cols, (tl.exp(rest + all_top) * all_sum).to(grad.dtype.element_ty), mask=out)


@triton.jit
def tail(ptr, in_row, cols, classes):
    """The block at ``cols``, -inf at the first places."""
    leading = tl.load(in_row + cols, mask=cols < classes, other=1)
    return tl.where(leading == 0, load(ptr, cols, classes), float("-inf"))


def pld_topk(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    *,
    k: int,
    temperature: float = 1.0,
    reduction_scale: float = 1.0,
    need_grad: bool = True,
) -> tuple[Tensor, Tensor | None]:
    r""":math:`\sum_{j \le k} \alpha_j [\log \sum_{l \ge j} e^{s_{\pi_l}} - s_{\pi_j}]`: PLD without its last terms.

    What is left out has about the teacher's tail mass as its weight, :math:`\sum_{j > k} \alpha_j`: exact for
    ``k`` = C, useless for a diffuse teacher and a small ``k``. The sort becomes a selection (``torch.topk``). Which of
    several equal logits takes the k-th place is open.

    Args:
        k: places that count, the label's among them; at most 4096.
    """
    if not 1 <= k <= 4096:
        raise ValueError(f"k must be from 1 to 4096, got {k}")
    k = min(k, student.shape[1])
    first = teacher.float().scatter(1, target[:, None], torch.inf).topk(k, dim=1).indices
    in_first = torch.zeros(student.shape, dtype=torch.uint8, device=student.device).scatter_(1, first, 1)
    options = dict(reduction_scale=reduction_scale, need_grad=need_grad, extra=(first, in_first, k))
    return fused(pld_topk_kernel, [student, teacher], None, [temperature], PLACES=triton.next_power_of_2(k), **options)
