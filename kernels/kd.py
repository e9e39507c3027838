"""Knowledge distillation, alone and with cross-entropy, in one kernel."""

import triton
import triton.language as tl
from torch import Tensor

from kdzoo.kernels.launch import fused
from kdzoo.kernels.rows import (
    STD_EPS,
    STD_FLOOR,
    again,
    at_label,
    load,
    moments,
    row_of,
    softmax_stats,
    softmax_stats_twice,
)


@triton.jit
def kd_kernel(
    student,  # [B, C]
    student_stride,
    teacher,  # [B, C]
    teacher_stride,
    target,  # [B] int64; read with CE only
    loss,  # [B] float32
    grad,  # [B, C]; written with GRAD only
    units,  # C / ALIGN
    reduction_scale,
    temperature,
    ce_weight,
    kd_weight,
    STANDARDIZE: tl.constexpr,
    CE: tl.constexpr,
    GRAD: tl.constexpr,
    ALIGN: tl.constexpr,
    ONE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    classes = units * ALIGN
    row = tl.program_id(0)
    s_row, t_row = row_of(student, student_stride, ALIGN), row_of(teacher, teacher_stride, ALIGN)
    s, t = load(s_row, tl.arange(0, BLOCK), classes), load(t_row, tl.arange(0, BLOCK), classes)

    # Z-scores over T are the logits times a scale of their row, plus a constant that no softmax sees.
    s_scale = 1.0 / temperature
    t_scale = 1.0 / temperature
    if STANDARDIZE:
        s_mean, s_std = moments(s, s_row, classes, ONE, BLOCK)
        _, t_std = moments(t, t_row, classes, ONE, BLOCK)
        s_scale = 1.0 / (temperature * (s_std + STD_EPS))
        t_scale = 1.0 / (temperature * (t_std + STD_EPS))
    if CE:
        s_top, s_plain, s_sum = softmax_stats_twice(s, s_row, classes, s_scale, -1, ONE, BLOCK)
        log_plain = tl.log(s_plain)
    else:
        s_top, s_sum = softmax_stats(s, s_row, classes, s_scale, -1, ONE, BLOCK)
    t_top, t_sum = softmax_stats(t, t_row, classes, t_scale, -1, ONE, BLOCK)
    s_log, t_log = tl.log(s_sum), tl.log(t_sum)

    # d/ds of the Z-score's deviation: sum_c h_c z_c, with h = T (p - q) the gradient to z. That h sums to 0 is true but
    # for rounding, which counts where the rest cancels, as with 2 classes.
    along = 0.0
    drift = 0.0
    if STANDARDIZE and GRAD:
        for start in tl.range(0, classes, BLOCK):
            cols = start + tl.arange(0, BLOCK)
            x, y = again(s, s_row, cols, classes, ONE), again(t, t_row, cols, classes, ONE)
            gap = tl.exp(s_scale * (x - s_top) - s_log) - tl.exp(t_scale * (y - t_top) - t_log)
            gap = tl.where(cols < classes, gap, 0.0)
            drift += tl.sum(gap, 0)
            along += tl.sum(tl.where(cols < classes, gap * (x - s_mean), 0.0), 0)
        # (sum h z) (std + eps) / ((C - 1) std), with h's T and z's std + eps put in.
        along = temperature * along / ((classes - 1) * s_std)
        drift = temperature * drift / classes

    divergence = 0.0
    label = -1
    if CE:
        label = tl.load(target + row)
    for start in tl.range(0, classes, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        inside = cols < classes
        x, y = again(s, s_row, cols, classes, ONE), again(t, t_row, cols, classes, ONE)
        log_p = s_scale * (x - s_top) - s_log
        log_q = t_scale * (y - t_top) - t_log
        q = tl.exp(log_q)
        divergence += tl.sum(tl.where(inside, q * (log_q - log_p), 0.0), 0)
        if GRAD:
            g = temperature * (tl.exp(log_p) - q)
            if STANDARDIZE:
                g = (g - drift - (x - s_mean) / (s_std + STD_EPS) * along) / (s_std + STD_EPS)
                g = tl.where(s_std < STD_FLOOR, 0.0, g)
            if CE:
                of_label = tl.exp(x - s_top - log_plain) - tl.where(cols == label, 1.0, 0.0)
                g = kd_weight * g + ce_weight * of_label
            tl.store(row_of(grad, units, ALIGN) + cols, (g * reduction_scale).to(grad.dtype.element_ty), mask=inside)
    total = temperature * temperature * divergence
    if CE:
        cross_entropy = log_plain - (at_label(s_row, label, classes) - s_top)
        total = kd_weight * total + ce_weight * cross_entropy
    tl.store(loss + row, total)


def kd(
    student: Tensor,
    teacher: Tensor,
    target: None = None,
    *,
    temperature: float = 4.0,
    standardize: bool = False,
    reduction_scale: float = 1.0,
    need_grad: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """See :func:`kdzoo.losses.functional.kd`."""
    params = [temperature, 0.0, 1.0]
    options = dict(reduction_scale=reduction_scale, need_grad=need_grad, STANDARDIZE=standardize, CE=False)
    return fused(kd_kernel, [student, teacher], None, params, **options)


def ce_kd(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    *,
    ce_weight: float = 1.0,
    kd_weight: float = 1.0,
    temperature: float = 4.0,
    standardize: bool = False,
    reduction_scale: float = 1.0,
    need_grad: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """``ce_weight`` cross-entropy plus ``kd_weight`` KD, the student read once for both."""
    params = [temperature, ce_weight, kd_weight]
    options = dict(reduction_scale=reduction_scale, need_grad=need_grad, STANDARDIZE=standardize, CE=True)
    return fused(kd_kernel, [student, teacher], target, params, **options)
