"""Squared hinge of a one-vs-rest support vector machine."""

import triton
import triton.language as tl
from torch import Tensor

from kdzoo.kernels.launch import fused
from kdzoo.kernels.rows import row_of


@triton.jit
def l2_svm_kernel(
    scores,  # [B, C]
    scores_stride,
    target,  # [B] int64
    loss,  # [B] float32
    grad,  # [B, C]
    units,  # C / ALIGN
    reduction_scale,
    weight,
    GRAD: tl.constexpr,
    ALIGN: tl.constexpr,
    ONE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    classes = units * ALIGN
    row = tl.program_id(0)
    label = tl.load(target + row)
    total = tl.where((label >= 0) & (label < classes), 0.0, float("nan"))
    for start in tl.range(0, classes, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        inside = cols < classes
        z = tl.load(row_of(scores, scores_stride, ALIGN) + cols, mask=inside, other=0.0).to(tl.float32)
        sign = tl.where(cols == label, 1.0, -1.0)
        short = tl.where(inside, tl.maximum(1.0 - sign * z, 0.0), 0.0)
        total += tl.sum(short * short, 0)
        if GRAD:
            g = -2.0 * weight * sign * short * reduction_scale
            tl.store(row_of(grad, units, ALIGN) + cols, g.to(grad.dtype.element_ty), mask=inside)
    tl.store(loss + row, weight * total)


def l2_svm(
    scores: Tensor,
    teacher: None,
    target: Tensor,
    *,
    C: float = 1.0,
    reduction_scale: float = 1.0,
    need_grad: bool = True,
) -> tuple[Tensor, Tensor | None]:
    r""":math:`C \sum_k \max(0, 1 - t_k z_k)^2`, a row's sum over the classes.

    The mean over images and classes of Agarap's CNN-SVM is ``C`` over the number of classes with the mean of rows.
    """
    return fused(l2_svm_kernel, [scores], target, [C], reduction_scale=reduction_scale, need_grad=need_grad)
