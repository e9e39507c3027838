"""Logit distillation class by class, on the difference of the logits."""

from math import log

import torch.nn.functional as F
from torch import Tensor

from kdzoo.kernels.dispatch import fused
from kdzoo.kernels.ops import reference
from kdzoo.losses.functional.checks import check_pair, check_temperature, reduce, widen


def binary_kl_norm(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0, reduction: str = "mean",
    backend: str = "auto",
) -> Tensor:
    r""":math:`T^2 \sum_c \mathrm{KL}(\mathrm{Bern}(\tfrac12) \,\|\, \mathrm{Bern}(\sigma((s_c - t_c)/T)))`.

    Equal to :math:`T^2 \sum_c \log\cosh((s_c - t_c) / 2T)`: even, 0 for equal logits, its gradient
    (T/2) tanh((s - t) / 2T) bounded. Nothing is clamped, as in :func:`binary_kl`. This is the loss of the
    authors' training scripts.

    Args:
        student_logits: [B, C], of an auxiliary head.
        teacher_logits: [B, C]; detached.
        temperature: T, 2 as in the authors' scripts.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
        backend: ``"auto"``, ``"torch"`` or ``"triton"``; see :mod:`kdzoo.kernels.dispatch`.

    Source: Yang et al., Dual-Head Knowledge Distillation, KDD 2025 (arXiv 2411.08937); the formula from the
    authors' code, the paper's text was not at hand.

    Example:
        >>> loss = binary_kl_norm(aux_logits, teacher_logits, temperature=2.0)
        >>> loss.backward()
    """
    student, teacher = check_pair(student_logits, teacher_logits, wide=False)
    check_temperature(temperature)
    loss = fused("binary_kl_norm", backend, student_logits, teacher_logits, None, reduction, temperature=temperature)
    return reduce(_rows(widen(student), widen(teacher), None, temperature), reduction) if loss is None else loss


@reference("binary_kl_norm")
def _rows(student: Tensor, teacher: Tensor, target: None, temperature: float) -> Tensor:
    gap = (student - teacher) / temperature
    # Not F.softplus: it is cut to its asymptote from 20 on, which is 2e-9 off.
    rows = (-0.5 * (F.logsigmoid(gap) + F.logsigmoid(-gap)) - log(2)).sum(dim=1)
    return temperature**2 * rows
