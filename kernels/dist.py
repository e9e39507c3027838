"""DIST's inter-class term: correlation of student and teacher over the classes of an image."""

import triton
import triton.language as tl
from torch import Tensor

from kdzoo.kernels.launch import fused
from kdzoo.kernels.rows import again, load, row_of, softmax_stats

EPS = tl.constexpr(1e-8)
SPREAD_FLOOR = tl.constexpr(1e-4)  # as in kdzoo.losses.functional.dist


@triton.jit
def dist_inter_kernel(
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
    GRAD: tl.constexpr,
    ALIGN: tl.constexpr,
    ONE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    classes = units * ALIGN
    s_row, t_row = row_of(student, student_stride, ALIGN), row_of(teacher, teacher_stride, ALIGN)
    s, t = load(s_row, tl.arange(0, BLOCK), classes), load(t_row, tl.arange(0, BLOCK), classes)
    scale = 1.0 / temperature
    s_top, s_sum = softmax_stats(s, s_row, classes, scale, -1, ONE, BLOCK)
    t_top, t_sum = softmax_stats(t, t_row, classes, scale, -1, ONE, BLOCK)
    s_over, t_over = 1.0 / s_sum, 1.0 / t_sum

    # a = p - 1/C and b = q - 1/C, and what rounding leaves of their means.
    mean = 1.0 / classes
    aa = 0.0
    bb = 0.0
    ab = 0.0
    pp = 0.0
    a_mean = 0.0
    b_mean = 0.0
    for start in tl.range(0, classes, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        inside = cols < classes
        p = tl.exp(scale * (again(s, s_row, cols, classes, ONE) - s_top)) * s_over
        q = tl.exp(scale * (again(t, t_row, cols, classes, ONE) - t_top)) * t_over
        a, b = tl.where(inside, p - mean, 0.0), tl.where(inside, q - mean, 0.0)
        aa += tl.sum(a * a, 0)
        bb += tl.sum(b * b, 0)
        ab += tl.sum(a * b, 0)
        pp += tl.sum(p * p, 0)
        a_mean += tl.sum(a, 0) * mean
        b_mean += tl.sum(b, 0) * mean
    aa = tl.maximum(aa - classes * a_mean * a_mean, 0.0)
    bb = tl.maximum(bb - classes * b_mean * b_mean, 0.0)
    ab -= classes * a_mean * b_mean
    a_norm, b_norm = tl.sqrt(aa), tl.sqrt(bb)
    over = 1.0 / (a_norm * b_norm + EPS)
    tl.store(loss + tl.program_id(0), temperature * temperature * (1.0 - ab * over))

    # d rho / dp = over b - pull a; through the softmax p (d - sum p d), where sum p d = over ab - pull aa.
    if GRAD:
        pull = ab * over * over * (b_norm / a_norm)
        through = over * ab - pull * aa
        constant = a_norm <= tl.sqrt(pp) * SPREAD_FLOOR
        for start in tl.range(0, classes, BLOCK):
            cols = start + tl.arange(0, BLOCK)
            p = tl.exp(scale * (again(s, s_row, cols, classes, ONE) - s_top)) * s_over
            q = tl.exp(scale * (again(t, t_row, cols, classes, ONE) - t_top)) * t_over
            g = -temperature * p * (over * (q - mean - b_mean) - pull * (p - mean - a_mean) - through)
            g = tl.where(constant, 0.0, g * reduction_scale)
            tl.store(row_of(grad, units, ALIGN) + cols, g.to(grad.dtype.element_ty), mask=cols < classes)


def dist_inter(
    student: Tensor,
    teacher: Tensor,
    target: None = None,
    *,
    temperature: float = 1.0,
    reduction_scale: float = 1.0,
    need_grad: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """See :func:`kdzoo.losses.functional.dist`, with beta 1 and gamma 0."""
    options = dict(reduction_scale=reduction_scale, need_grad=need_grad)
    return fused(dist_inter_kernel, [student, teacher], None, [temperature], **options)
