"""Plackett-Luce distillation: the teacher's ranking, led by the label."""

import torch.nn.functional as F
from torch import Tensor

from kdzoo.kernels.cpu_pld import ranking
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


def pld(
    student_logits: Tensor,
    teacher_logits: Tensor,
    target: Tensor,
    temperature: float = 1.0,
    ce_weight: float = 0.0,
    reduction: str = "mean",
    backend: str = "auto",
    order: Tensor | None = None,
) -> Tensor:
    r""":math:`\sum_k \alpha_k [\log \sum_{l \ge k} e^{s_{\pi_l}} - s_{\pi_k}]` with
    :math:`\alpha_k = \mathrm{softmax}(t/T)_{\pi_k}`.

    :math:`\pi` is the label, then the other classes by falling teacher logit (of equal ones the later
    class first). Convex in the student's logits, which no temperature touches; there is no factor
    T^2. The first term is q_y times cross-entropy, so the paper uses no other loss beside it.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; detached.
        target: class indices [B]; of soft labels [B, C] the largest counts.
        temperature: T of the weights; 1 is the paper's best on ImageNet, its CIFAR-100 runs use 4.
        ce_weight: adds this much cross-entropy with the label, whose weight q_y is small where the
            teacher errs; 0 as in the paper.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
        backend: ``"auto"``, ``"torch"`` or ``"triton"``; see :mod:`kdzoo.kernels.dispatch`.
        order: [B, C] of any integer type, ``teacher_logits.argsort(dim=1, stable=True)``, where it is known: a
            frozen teacher's ranks depend on neither student nor label, and sorting is most of the loss's time.

    Raises:
        IndexError: on the CPU, an order that is no permutation; on a GPU nobody looks, and the gradient is wrong.

    Source: Bassam et al., PLD: A Choice-Theoretic List-Wise Knowledge Distillation, NeurIPS 2025 (Appendix C).

    Example:
        >>> loss = pld(student_logits, teacher_logits, target, temperature=1.0)
        >>> loss.backward()
    """
    student, teacher = check_pair(student_logits, teacher_logits, look=False, wide=False)
    label = check_labels(target, student)
    check_temperature(temperature)
    check_weight(ce_weight, "ce_weight")
    if order is not None and (order.shape != student.shape or order.is_floating_point()):
        raise ValueError(f"order must be integers {list(student.shape)}, got {order.dtype} {list(order.shape)}")
    options = dict(temperature=temperature, ce_weight=ce_weight, order=order)
    loss = fused("pld", backend, student_logits, teacher_logits, label, reduction, **options)
    loss = reduce(_rows(widen(student), widen(teacher), label, **options), reduction) if loss is None else loss
    return checked(loss, student, teacher)


@reference("pld")
def _rows(
    student: Tensor, teacher: Tensor, label: Tensor, temperature: float, ce_weight: float, order: Tensor | None
) -> Tensor:
    order = ranking(teacher, label[:, None], order)
    weight = F.softmax(teacher / temperature, dim=1).gather(1, order)
    score = student.gather(1, order)
    rows = (weight * (score.logcumsumexp(dim=1) - score)).sum(dim=1)
    if ce_weight:
        rows = rows + ce_weight * F.cross_entropy(student, label, reduction="none")
    return rows
