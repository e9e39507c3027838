"""StableMax cross-entropy."""

import triton
import triton.language as tl
from torch import Tensor

from kdzoo.kernels.launch import NARROW_LOOP, ONE_BLOCK, fused
from kdzoo.kernels.rows import again, at_label, finite_base, load, log1p, row_of


@triton.jit
def stable(x):
    """s(x) = x + 1 above 0, 1 / (1 - x) below."""
    return tl.where(x >= 0, x + 1.0, 1.0 / (1.0 + tl.abs(x)))


@triton.jit
def log_stable(x):
    """log s(x), whose slope is 1 / (1 + |x|)."""
    size = log1p(tl.abs(x))
    return tl.where(x >= 0, size, -size)


@triton.jit
def stablemax_kernel(
    student,  # [B, C]
    student_stride,
    target,  # [B] int64
    loss,  # [B] float32
    grad,  # [B, C]
    units,  # C / ALIGN
    reduction_scale,
    GRAD: tl.constexpr,
    ALIGN: tl.constexpr,
    ONE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    classes = units * ALIGN
    row = tl.program_id(0)
    s_row = row_of(student, student_stride, ALIGN)
    s = load(s_row, tl.arange(0, BLOCK), classes)

    # The sum over the largest, for sums beyond float32: total = sum s(x) / s(max).
    top = float("-inf")
    total = 0.0
    for start in tl.range(0, classes, BLOCK):
        block = again(s, s_row, start + tl.arange(0, BLOCK), classes, ONE)
        high = tl.maximum(top, tl.max(block, 0))
        base = stable(finite_base(high))
        # 1, not inf / inf, where the largest is infinite: the loss is infinite then, as the reference's.
        total *= tl.where(top == high, 1.0, stable(top) / base)
        total += tl.sum(tl.where(block == high, 1.0, stable(block) / base), 0)
        top = high

    label = tl.load(target + row)
    tl.store(loss + row, tl.log(total) + log_stable(top) - log_stable(at_label(s_row, label, classes)))
    if GRAD:
        over = 1.0 / total
        for start in tl.range(0, classes, BLOCK):
            cols = start + tl.arange(0, BLOCK)
            x = again(s, s_row, cols, classes, ONE)
            p = stable(x) / stable(top) * over
            g = (p - tl.where(cols == label, 1.0, 0.0)) * (1.0 / (1.0 + tl.abs(x))) * reduction_scale
            tl.store(row_of(grad, units, ALIGN) + cols, g.to(grad.dtype.element_ty), mask=cols < classes)


def stablemax_cross_entropy(
    student: Tensor,
    teacher: None,
    target: Tensor,
    *,
    reduction_scale: float = 1.0,
    need_grad: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """See :func:`kdzoo.losses.functional.stablemax_cross_entropy`; class indices only."""
    shape = NARROW_LOOP if student.shape[1] > ONE_BLOCK // 2 else None
    options = dict(reduction_scale=reduction_scale, need_grad=need_grad, shape=shape)
    return fused(stablemax_kernel, [student], target, [], **options)
