"""Cross-entropy and distillation in one reading of the student's logits."""

import torch.nn.functional as F
from torch import Tensor

from kdzoo.kernels.dispatch import fused
from kdzoo.kernels.ops import reference
from kdzoo.losses.functional.checks import (
    check_pair,
    check_target,
    check_temperature,
    check_weight,
    checked,
    reduce,
    widen,
)
from kdzoo.losses.functional.kd import kd_rows


def ce_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    ce_weight: float = 0.1,
    kd_weight: float = 0.9,
    temperature: float = 4.0,
    standardize: bool = False,
    reduction: str = "mean",
    backend: str = "auto",
) -> Tensor:
    r"""``ce_weight`` times cross-entropy plus ``kd_weight`` times :func:`kd`, as training uses them together.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; detached.
        target: class indices [B], or soft labels [B, C] (which have no fused form).
        ce_weight: 0.1 as in RepDistiller and mdistiller.
        kd_weight: 0.9 likewise.
        temperature: T of KD; cross-entropy is that of the plain logits.
        standardize: replace both logits by their Z-scores in KD.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
        backend: ``"auto"``, ``"torch"`` or ``"triton"``; see :mod:`kdzoo.kernels.dispatch`.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network, 2015.

    Example:
        >>> loss = ce_kd(student_logits, teacher_logits, labels, ce_weight=0.1, kd_weight=0.9)
        >>> loss.backward()
    """
    student, teacher = check_pair(student_logits, teacher_logits, look=False, wide=False)
    target = check_target(target, student)
    check_weight(ce_weight, "ce_weight")
    check_weight(kd_weight, "kd_weight")
    check_temperature(temperature)
    options = dict(ce_weight=ce_weight, kd_weight=kd_weight, temperature=temperature, standardize=standardize)
    loss = fused("ce_kd", backend, student_logits, teacher_logits, target, reduction, **options)
    loss = reduce(_rows(widen(student), widen(teacher), target, **options), reduction) if loss is None else loss
    return checked(loss, student, teacher)


@reference("ce_kd")
def _rows(
    student: Tensor, teacher: Tensor, target: Tensor, ce_weight: float, kd_weight: float, temperature: float,
    standardize: bool,
) -> Tensor:
    rows = kd_rows(student, teacher, None, temperature, standardize)
    return ce_weight * F.cross_entropy(student, target, reduction="none") + kd_weight * rows
