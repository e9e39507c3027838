"""Cross-entropy with class indices, plain or label-smoothed."""

import triton
import triton.language as tl
from torch import Tensor

from kdzoo.kernels.launch import fused
from kdzoo.kernels.rows import again, at_label, load, row_of, softmax_stats


@triton.jit
def cross_entropy_kernel(
    student,  # [B, C]
    student_stride,
    target,  # [B] int64
    loss,  # [B] float32
    grad,  # [B, C]
    units,  # C / ALIGN
    reduction_scale,
    smoothing,
    SMOOTH: tl.constexpr,
    GRAD: tl.constexpr,
    ALIGN: tl.constexpr,
    ONE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    classes = units * ALIGN
    row = tl.program_id(0)
    s_row = row_of(student, student_stride, ALIGN)
    s = load(s_row, tl.arange(0, BLOCK), classes)
    top, total = softmax_stats(s, s_row, classes, 1.0, -1, ONE, BLOCK)
    log_total = tl.log(total)
    label = tl.load(target + row)
    of_label = log_total - (at_label(s_row, label, classes) - top)
    of_all = 0.0
    if GRAD or SMOOTH:
        for start in tl.range(0, classes, BLOCK):
            cols = start + tl.arange(0, BLOCK)
            inside = cols < classes
            log_p = again(s, s_row, cols, classes, ONE) - top - log_total
            if SMOOTH:
                of_all -= tl.sum(tl.where(inside, log_p, 0.0), 0)
            if GRAD:
                wanted = tl.where(cols == label, 1.0, 0.0)
                if SMOOTH:
                    wanted = (1.0 - smoothing) * wanted + smoothing / classes
                g = (tl.exp(log_p) - wanted) * reduction_scale
                tl.store(row_of(grad, units, ALIGN) + cols, g.to(grad.dtype.element_ty), mask=inside)
    if SMOOTH:
        of_label = (1.0 - smoothing) * of_label + smoothing / classes * of_all
    tl.store(loss + row, of_label)


def cross_entropy(
    student: Tensor,
    teacher: None,
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    reduction_scale: float = 1.0,
    need_grad: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """See :func:`kdzoo.losses.functional.cross_entropy`; class indices only."""
    options = dict(reduction_scale=reduction_scale, need_grad=need_grad, SMOOTH=label_smoothing > 0)
    return fused(cross_entropy_kernel, [student], target, [label_smoothing], **options)
