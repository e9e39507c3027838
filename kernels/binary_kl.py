"""Logit distillation class by class: BinaryKL and BinaryKL-Norm."""

import triton
import triton.language as tl
from torch import Tensor

from kdzoo.kernels.launch import fused
from kdzoo.kernels.rows import log1p, row_of

LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def bernoulli(x):
    """sigmoid(x), sigmoid(-x), and the logarithms of both, of one exponential."""
    small = tl.exp(-tl.abs(x))
    near = 1.0 / (1.0 + small)
    far = small * near
    tail = log1p(small)
    log_yes, log_no = tl.minimum(x, 0.0) - tail, tl.minimum(-x, 0.0) - tail
    return tl.where(x >= 0, near, far), tl.where(x >= 0, far, near), log_yes, log_no


@triton.jit
def binary_kl_kernel(
    student,  # [B, C]
    student_stride,
    teacher,  # [B, C]
    teacher_stride,
    target,  # unused
    loss,  # [B] float32
    grad,  # [B, C]
    units,  # C / ALIGN
    reduction_scale,
    temperature,
    NORM: tl.constexpr,
    GRAD: tl.constexpr,
    ALIGN: tl.constexpr,
    ONE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    classes = units * ALIGN
    scale = 1.0 / temperature
    total = 0.0
    for start in tl.range(0, classes, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        inside = cols < classes
        s = tl.load(row_of(student, student_stride, ALIGN) + cols, mask=inside, other=0.0).to(tl.float32)
        t = tl.load(row_of(teacher, teacher_stride, ALIGN) + cols, mask=inside, other=0.0).to(tl.float32)
        if NORM:
            x = (s - t) * scale
            small = tl.exp(-tl.abs(x))
            divergence = 0.5 * tl.abs(x) + log1p(small) - LN2
            half = 0.5 * (1.0 - small) / (1.0 + small)
            slope = tl.where(x >= 0, half, -half)
        else:
            a, _, log_a, log_not_a = bernoulli(s * scale)
            b, not_b, log_b, log_not_b = bernoulli(t * scale)
            divergence = b * (log_b - log_a) + not_b * (log_not_b - log_not_a)
            slope = a - b
        total += tl.sum(tl.where(inside, divergence, 0.0), 0)
        if GRAD:
            g = temperature * slope * reduction_scale
            tl.store(row_of(grad, units, ALIGN) + cols, g.to(grad.dtype.element_ty), mask=inside)
    tl.store(loss + tl.program_id(0), temperature * temperature * total)


def binary_kl(
    student: Tensor,
    teacher: Tensor,
    target: None = None,
    *,
    temperature: float = 2.0,
    reduction_scale: float = 1.0,
    need_grad: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """See :func:`kdzoo.losses.functional.binary_kl`."""
    options = dict(reduction_scale=reduction_scale, need_grad=need_grad, NORM=False)
    return fused(binary_kl_kernel, [student, teacher], None, [temperature], **options)


def binary_kl_norm(
    student: Tensor,
    teacher: Tensor,
    target: None = None,
    *,
    temperature: float = 2.0,
    reduction_scale: float = 1.0,
    need_grad: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """See :func:`kdzoo.losses.functional.binary_kl_norm`."""
    options = dict(reduction_scale=reduction_scale, need_grad=need_grad, NORM=True)
    return fused(binary_kl_kernel, [student, teacher], None, [temperature], **options)
