"""Decoupled knowledge distillation."""

import triton
import triton.language as tl
from torch import Tensor

from kdzoo.kernels.launch import NARROW_LOOP, ONE_BLOCK, fused
from kdzoo.kernels.rows import (
    STD_EPS,
    STD_FLOOR,
    again,
    at_label,
    lead,
    load,
    moments,
    row_of,
    sigmoid,
    sigmoid_gap,
    softmax_stats,
    softplus,
)


@triton.jit
def dkd_kernel(
    student,  # [B, C]
    student_stride,
    teacher,  # [B, C]
    teacher_stride,
    target,  # [B] int64
    loss,  # [B] float32
    grad,  # [B, C]
    units,  # C / ALIGN
    reduction_scale,
    alpha,
    beta,
    temperature,
    STANDARDIZE: tl.constexpr,
    GRAD: tl.constexpr,
    ALIGN: tl.constexpr,
    ONE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    classes = units * ALIGN
    row = tl.program_id(0)
    s_row, t_row = row_of(student, student_stride, ALIGN), row_of(teacher, teacher_stride, ALIGN)
    s, t = load(s_row, tl.arange(0, BLOCK), classes), load(t_row, tl.arange(0, BLOCK), classes)
    label = tl.load(target + row)

    # Z-scores over T are the logits times a scale of their row, plus a constant that no softmax sees.
    s_scale = 1.0 / temperature
    t_scale = 1.0 / temperature
    if STANDARDIZE:
        s_mean, s_std = moments(s, s_row, classes, ONE, BLOCK)
        _, t_std = moments(t, t_row, classes, ONE, BLOCK)
        s_scale = 1.0 / (temperature * (s_std + STD_EPS))
        t_scale = 1.0 / (temperature * (t_std + STD_EPS))

    # One softmax over the others gives all: with d the label's lead over their logsumexp, p_y is sigmoid(d).
    s_top, s_sum = softmax_stats(s, s_row, classes, s_scale, label, ONE, BLOCK)
    t_top, t_sum = softmax_stats(t, t_row, classes, t_scale, label, ONE, BLOCK)
    s_log, t_log = tl.log(s_sum), tl.log(t_sum)
    s_label = at_label(s_row, label, classes)
    s_lead = lead(s_label, s_top, s_sum, s_scale)
    t_lead = lead(at_label(t_row, label, classes), t_top, t_sum, t_scale)
    tckd = sigmoid(t_lead) * (softplus(-s_lead) - softplus(-t_lead))
    tckd += sigmoid(-t_lead) * (softplus(s_lead) - softplus(t_lead))
    missing = sigmoid_gap(t_lead, s_lead)  # q_y - p_y

    # The gradient h to the Z-scores over T; it sums to 0 but for rounding. Its part along them is the deviation's.
    along = 0.0
    drift = 0.0
    if STANDARDIZE and GRAD:
        for start in tl.range(0, classes, BLOCK):
            cols = start + tl.arange(0, BLOCK)
            x, y = again(s, s_row, cols, classes, ONE), again(t, t_row, cols, classes, ONE)
            p = tl.exp(s_scale * (x - s_top) - s_log)
            q = tl.exp(t_scale * (y - t_top) - t_log)
            h = tl.where(cols == label, -alpha * missing, alpha * missing * p + beta * (p - q))
            h = tl.where(cols < classes, h, 0.0)
            drift += tl.sum(h, 0)
            along += tl.sum(tl.where(cols < classes, h * (x - s_mean), 0.0), 0)
        along = temperature * along / ((classes - 1) * s_std)
        drift = temperature * drift / classes

    nckd = 0.0
    for start in tl.range(0, classes, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        others = (cols < classes) & (cols != label)
        x, y = again(s, s_row, cols, classes, ONE), again(t, t_row, cols, classes, ONE)
        log_p = s_scale * (x - s_top) - s_log
        log_q = t_scale * (y - t_top) - t_log
        q = tl.exp(log_q)
        nckd += tl.sum(tl.where(others, q * (log_q - log_p), 0.0), 0)
        if GRAD:
            p = tl.exp(log_p)
            g = tl.where(cols == label, -alpha * missing, alpha * missing * p + beta * (p - q)) * temperature
            if STANDARDIZE:
                g = (g - drift - (x - s_mean) / (s_std + STD_EPS) * along) / (s_std + STD_EPS)
                g = tl.where(s_std < STD_FLOOR, 0.0, g)
            g *= reduction_scale
            tl.store(row_of(grad, units, ALIGN) + cols, g.to(grad.dtype.element_ty), mask=cols < classes)
    tl.store(loss + row, temperature * temperature * (alpha * tckd + beta * nckd))


def dkd(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    standardize: bool = False,
    reduction_scale: float = 1.0,
    need_grad: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """See :func:`kdzoo.losses.functional.dkd`."""
    options = dict(reduction_scale=reduction_scale, need_grad=need_grad, STANDARDIZE=standardize)
    if standardize and student.shape[1] > ONE_BLOCK // 2:
        options["shape"] = NARROW_LOOP
    return fused(dkd_kernel, [student, teacher], target, [alpha, beta, temperature], **options)
