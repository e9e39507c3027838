"""Decoupled knowledge distillation."""

import warnings
from functools import cache
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.kernels.dispatch import fused
from kdzoo.kernels.ops import reference
from kdzoo.losses.functional.checks import (
    check_labels,
    check_pair,
    check_temperature,
    check_weight,
    checked,
    reduce,
    widen,
)
from kdzoo.losses.functional.non_target import label_mask, non_target
from kdzoo.losses.functional.standardize import z_scores


def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    standardize: bool = False,
    reduction: str = "mean",
    backend: str = "auto",
) -> Tensor:
    r""":math:`\alpha\,\mathrm{TCKD} + \beta\,\mathrm{NCKD}`: KD taken apart into target and non-target classes.

    With p, q the softened probabilities of student and teacher, b = (p_y, 1 - p_y), and n the
    softmax over the C - 1 classes other than the label:

    :math:`\mathrm{TCKD} = T^2\,\mathrm{KL}(b(q) \| b(p)), \quad \mathrm{NCKD} = T^2\,\mathrm{KL}(n(t/T) \| n(s/T))`.

    KD is TCKD + (1 - q_y) NCKD of each sample. All in log space. With C = 2 NCKD is 0, which is warned of once.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; detached.
        target: class indices [B]; of soft labels [B, C] the largest counts.
        alpha: weight of TCKD, 1 as in mdistiller.
        beta: weight of NCKD, 8 as in mdistiller; 2 or 6 for some pairs, 0.5 to 2 on ImageNet.
        temperature: T, 4 as in mdistiller; 1 on ImageNet.
        standardize: replace both logits by their Z-scores first (with temperature 2, and alpha and
            beta times 9 or more).
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
        backend: ``"auto"``, ``"torch"`` or ``"triton"``; see :mod:`kdzoo.kernels.dispatch`.

    Source: Zhao et al., Decoupled Knowledge Distillation, CVPR 2022;
    Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024.

    Example:
        >>> loss = dkd(student_logits, teacher_logits, target, alpha=1.0, beta=2.0)
        >>> loss.backward()
    """
    student, teacher = check_pair(student_logits, teacher_logits, look=False, wide=False)
    label = check_labels(target, student)
    check_weight(alpha, "alpha")
    check_weight(beta, "beta")
    check_temperature(temperature)
    if student.shape[1] == 2 and not torch.compiler.is_compiling():
        _warn_of_two_classes()
    options = dict(alpha=alpha, beta=beta, temperature=temperature, standardize=standardize)
    loss = fused("dkd", backend, student_logits, teacher_logits, label, reduction, **options)
    loss = reduce(_rows(widen(student), widen(teacher), label, **options), reduction) if loss is None else loss
    return checked(loss, student, teacher)


@reference("dkd")
def _rows(
    student: Tensor, teacher: Tensor, label: Tensor, alpha: float, beta: float, temperature: float, standardize: bool
) -> Tensor:
    if standardize:
        student, teacher = z_scores(student), z_scores(teacher)
    mask = label_mask(label, student)
    log_p, log_rest_p, log_n_p = _parts(student / temperature, label, mask)
    log_q, log_rest_q, log_n_q = _parts(teacher / temperature, label, mask)
    tckd = log_q.exp() * (log_q - log_p) + log_rest_q.exp() * (log_rest_q - log_rest_p)  # [B]
    nckd = (log_n_q.exp() * (log_n_q - log_n_p)).sum(dim=1)  # [B]
    return temperature**2 * (alpha * tckd + beta * nckd)


def _parts(logits: Tensor, label: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log p_y [B], log(1 - p_y) [B], log-softmax of the others [B, C]."""
    log_p = F.log_softmax(logits, dim=1)
    log_p_y = log_p.gather(1, label[:, None]).squeeze(1)
    # The sum over the others is exact where p_y is near 1; where it is small, the sum's rounding would drown it.
    large = log_p.masked_fill(mask, -torch.inf).logsumexp(dim=1)
    small = torch.log1p(-log_p_y.clamp_max(-log(2)).exp())
    return log_p_y, torch.where(log_p_y < -log(2), small, large), non_target(logits, mask)


@cache
def _warn_of_two_classes() -> None:
    warnings.warn("DKD with 2 classes: NCKD is 0, only alpha * TCKD (which is KD then) is left", stacklevel=3)
