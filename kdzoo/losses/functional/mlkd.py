"""The batch-level and class-level parts of multi-level logit distillation."""

import torch.nn.functional as F
from torch import Tensor

from kdzoo.losses.functional.checks import check_pair, check_temperature, full_precision, reduce


def mlkd_batch(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0, reduction: str = "mean"
) -> Tensor:
    r""":math:`\frac1B \|Q Q^\top - P P^\top\|_F^2`: similarities of the images of a batch, [B, B].

    P, Q are the softened probabilities [B, C] of student and teacher. There is no factor T^2.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; detached.
        temperature: T, 4 as in the authors' code (among 2, 3, 5 and 6).
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B], each image's row of
            the matrix.

    Source: Jin et al., Multi-Level Logit Distillation, CVPR 2023.

    Example:
        >>> loss = mlkd_batch(student_logits, teacher_logits, temperature=4.0)
        >>> loss.backward()
    """
    p, q = _probabilities(student_logits, teacher_logits, temperature)
    return reduce(_gram_gap(p, q), reduction)


def mlkd_class(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0, reduction: str = "mean"
) -> Tensor:
    r""":math:`\frac1C \|Q^\top Q - P^\top P\|_F^2`: correlations of the classes, [C, C].

    P, Q are the softened probabilities [B, C] of student and teacher. There is no factor T^2.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; detached.
        temperature: T, 4 as in the authors' code (among 2, 3, 5 and 6).
        reduction: ``"mean"``; the batch has one value, which ``"none"`` gives to each of its B rows and
            ``"sum"`` counts B times.

    Source: Jin et al., Multi-Level Logit Distillation, CVPR 2023.

    Example:
        >>> loss = mlkd_class(student_logits, teacher_logits, temperature=4.0)
        >>> loss.backward()
    """
    rows = mlkd_class_rows(student_logits, teacher_logits, temperature)
    return reduce(rows.mean().expand(len(student_logits)), reduction)


def mlkd_class_rows(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """[C]: each class's row of the class-level part, of which the mean is :func:`mlkd_class`."""
    p, q = _probabilities(student_logits, teacher_logits, temperature)
    return _gram_gap(p.T, q.T)


def _probabilities(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    student, teacher = check_pair(student_logits, teacher_logits)
    check_temperature(temperature)
    return F.softmax(student / temperature, dim=1), F.softmax(teacher / temperature, dim=1)


def _gram_gap(p: Tensor, q: Tensor) -> Tensor:
    """[n]: row sums of the squared difference of the Gram matrices of two [n, d]."""
    with full_precision(p):
        return (q @ q.T - p @ p.T).square().sum(dim=1)
