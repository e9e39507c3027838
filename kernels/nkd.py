"""Normalized knowledge distillation."""

import triton
import triton.language as tl
from torch import Tensor

from kdzoo.kernels.launch import fused
from kdzoo.kernels.rows import again, at_label, lead, load, row_of, sigmoid, softmax_stats_twice, softplus


@triton.jit
def nkd_kernel(
    student,  # [B, C]
    student_stride,
    teacher,  # [B, C]
    teacher_stride,
    target,  # [B] int64
    loss,  # [B] float32
    grad,  # [B, C]
    units,  # C / ALIGN
    reduction_scale,
    gamma,
    temperature,
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

    # Over the others, at temperature 1 (for the label's own part) and at T.
    scale = 1.0 / temperature
    s_top, s_plain, s_sum = softmax_stats_twice(s, s_row, classes, scale, label, ONE, BLOCK)
    t_top, t_plain, t_sum = softmax_stats_twice(t, t_row, classes, scale, label, ONE, BLOCK)
    s_log, t_log = tl.log(s_sum), tl.log(t_sum)
    s_lead = lead(at_label(s_row, label, classes), s_top, s_plain, 1.0)
    q_label = sigmoid(lead(at_label(t_row, label, classes), t_top, t_plain, 1.0))
    missing = q_label * sigmoid(-s_lead)  # q_y (1 - p_y)

    share = missing / s_plain
    of_others = 0.0
    for start in tl.range(0, classes, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        others = (cols < classes) & (cols != label)
        x, y = again(s, s_row, cols, classes, ONE), again(t, t_row, cols, classes, ONE)
        log_p = scale * (x - s_top) - s_log
        q = tl.exp(scale * (y - t_top) - t_log)
        of_others -= tl.sum(tl.where(others, q * log_p, 0.0), 0)
        if GRAD:
            rest = share * tl.exp(x - s_top) + gamma * temperature * (tl.exp(log_p) - q)
            g = tl.where(cols == label, -missing, rest) * reduction_scale
            tl.store(row_of(grad, units, ALIGN) + cols, g.to(grad.dtype.element_ty), mask=cols < classes)
    tl.store(loss + row, q_label * softplus(-s_lead) + gamma * temperature * temperature * of_others)


def nkd(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    *,
    gamma: float = 1.5,
    temperature: float = 1.0,
    reduction_scale: float = 1.0,
    need_grad: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """See :func:`kdzoo.losses.functional.nkd`."""
    options = dict(reduction_scale=reduction_scale, need_grad=need_grad)
    return fused(nkd_kernel, [student, teacher], target, [gamma, temperature], **options)
