"""Weighted soft labels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.losses.functional.checks import check_pair, check_target, check_temperature, check_weight, reduce


def wsld(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    alpha: float = 2.25,
    temperature: float = 4.0,
    reduction: str = "mean",
) -> Tensor:
    r""":math:`-\alpha T^2 w \sum_c q_c \log p_c, \quad w = 1 - \exp(-\mathrm{CE}_s / \mathrm{CE}_t)`.

    p, q are the softened probabilities of student and teacher, CE the cross-entropy of either's
    plain logits with the label; w is a constant, small where the student fits the label better than
    the teacher does. 1e-7 is added to CE_t. A cross-entropy with the teacher: its minimum is not 0.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; detached.
        target: class indices [B]; the weight is not defined for soft labels, which are refused.
        alpha: 2.25 on CIFAR-100, 2.5 on ImageNet.
        temperature: T, 4 on CIFAR-100, 2 on ImageNet.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].

    Source: Zhou et al., Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff
    Perspective, ICLR 2021; defaults as in cls_KD.

    Example:
        >>> loss = wsld(student_logits, teacher_logits, target)
        >>> loss.backward()
    """
    student, teacher = check_pair(student_logits, teacher_logits)
    label = check_target(target, student)
    if label.ndim != 1:
        raise ValueError(f"target must be class indices [{len(student)}], got soft labels {list(target.shape)}")
    check_weight(alpha, "alpha")
    check_temperature(temperature)
    with torch.no_grad():
        ours, theirs = (F.cross_entropy(x, label, reduction="none") for x in (student, teacher))
        weight = -torch.expm1(-ours / (theirs + 1e-7))
    q = F.softmax(teacher / temperature, dim=1)
    surprise = -(q * F.log_softmax(student / temperature, dim=1)).sum(dim=1)
    return reduce(alpha * temperature**2 * weight * surprise, reduction)
