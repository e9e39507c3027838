"""Logit distillation class by class, as C binary problems."""

import torch.nn.functional as F
from torch import Tensor

from kdzoo.kernels.dispatch import fused
from kdzoo.kernels.ops import reference
from kdzoo.losses.functional.checks import check_pair, check_temperature, reduce, widen


def binary_kl(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0, reduction: str = "mean",
    backend: str = "auto",
) -> Tensor:
    r""":math:`T^2 \sum_c \mathrm{KL}(\mathrm{Bern}(\sigma(t_c/T)) \,\|\, \mathrm{Bern}(\sigma(s_c/T)))`.

    Computed with log-sigmoid, so nothing is clamped; the authors' clamp at 1e-8 is none in float32.

    Args:
        student_logits: [B, C], of an auxiliary head in the paper: on the classifier's own logits
            beside cross-entropy, the authors saw training collapse.
        teacher_logits: [B, C]; detached.
        temperature: T, 2 as in the authors' scripts.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
        backend: ``"auto"``, ``"torch"`` or ``"triton"``; see :mod:`kdzoo.kernels.dispatch`.

    Source: Yang et al., Dual-Head Knowledge Distillation, KDD 2025 (arXiv 2411.08937); the formula from the
    authors' code, the paper's text was not at hand.

    Example:
        >>> loss = binary_kl(student_logits, teacher_logits, temperature=2.0)
        >>> loss.backward()
    """
    student, teacher = check_pair(student_logits, teacher_logits, wide=False)
    check_temperature(temperature)
    loss = fused("binary_kl", backend, student_logits, teacher_logits, None, reduction, temperature=temperature)
    return reduce(_rows(widen(student), widen(teacher), None, temperature), reduction) if loss is None else loss


@reference("binary_kl")
def _rows(student: Tensor, teacher: Tensor, target: None, temperature: float) -> Tensor:
    student, teacher = student / temperature, teacher / temperature
    yes = teacher.sigmoid() * (F.logsigmoid(teacher) - F.logsigmoid(student))
    no = (-teacher).sigmoid() * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return temperature**2 * (yes + no).sum(dim=1)
