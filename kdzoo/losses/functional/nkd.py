"""Normalized knowledge distillation."""

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


def nkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    gamma: float = 1.5,
    temperature: float = 1.0,
    reduction: str = "mean",
    backend: str = "auto",
) -> Tensor:
    r""":math:`-q_y \log p_y - \gamma T^2 \sum_{c \ne y} n_c(t/T) \log n_c(s/T)`.

    p, q are the probabilities of student and teacher at temperature 1, n the softmax over the C - 1
    classes other than the label. A cross-entropy with the teacher: its minimum is not 0. With C = 2
    the second part is 0. The label's own cross-entropy belongs beside it, with weight 1.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; detached.
        target: class indices [B]; of soft labels [B, C] the largest counts.
        gamma: weight of the non-target part; 1.5 on ImageNet as in the authors' code, 3.5 on CIFAR-100.
        temperature: T of the non-target part; 1 on ImageNet, 3 on CIFAR-100.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
        backend: ``"auto"``, ``"torch"`` or ``"triton"``; see :mod:`kdzoo.kernels.dispatch`.

    Source: Yang et al., From Knowledge Distillation to Self-Knowledge Distillation: A Unified
    Approach with Normalized Loss and Customized Soft Labels, ICCV 2023.

    Example:
        >>> loss = nkd(student_logits, teacher_logits, target, gamma=3.5, temperature=3.0)
        >>> loss.backward()
    """
    student, teacher = check_pair(student_logits, teacher_logits, look=False, wide=False)
    label = check_labels(target, student)
    check_weight(gamma, "gamma")
    check_temperature(temperature)
    options = dict(gamma=gamma, temperature=temperature)
    loss = fused("nkd", backend, student_logits, teacher_logits, label, reduction, **options)
    loss = reduce(_rows(widen(student), widen(teacher), label, **options), reduction) if loss is None else loss
    return checked(loss, student, teacher)


@reference("nkd")
def _rows(student: Tensor, teacher: Tensor, label: Tensor, gamma: float, temperature: float) -> Tensor:
    q_y = F.softmax(teacher, dim=1).gather(1, label[:, None]).squeeze(1)
    of_target = q_y * F.cross_entropy(student, label, reduction="none")
    mask = label_mask(label, student)
    log_p = non_target(student / temperature, mask)
    log_q = non_target(teacher / temperature, mask)
    of_others = -(log_q.exp() * log_p).sum(dim=1)  # log_p is 0 at the label
    return of_target + gamma * temperature**2 * of_others
