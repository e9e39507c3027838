"""Knowledge distillation with a temperature."""

import torch.nn.functional as F
from torch import Tensor

from kdzoo.kernels.dispatch import fused
from kdzoo.kernels.ops import reference
from kdzoo.losses.functional.checks import check_pair, check_temperature, checked, reduce, widen
from kdzoo.losses.functional.standardize import z_scores


def kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor = 4.0,
    standardize: bool = False,
    reduction: str = "mean",
    backend: str = "auto",
) -> Tensor:
    r""":math:`T^2 \, \mathrm{KL}(\mathrm{softmax}(t/T) \,\|\, \mathrm{softmax}(s/T))`, summed over classes.

    Args:
        student_logits: [B, C].
        teacher_logits: [B, C]; detached.
        temperature: T, 4 as in RepDistiller and mdistiller; with ``standardize`` the paper's base
            temperature, mostly 2. A tensor of one element gets a gradient.
        standardize: replace both logits by their Z-scores first (logit standardization).
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
        backend: ``"auto"``, ``"torch"`` or ``"triton"``; see :mod:`kdzoo.kernels.dispatch`.

    Returns:
        A scalar or [B]. Equal logits can give a tiny negative value, by rounding.

    Source: Hinton et al., Distilling the Knowledge in a Neural Network, 2015;
    Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024.

    Example:
        >>> loss = kd(student_logits, teacher_logits, temperature=2.0, standardize=True)
        >>> loss.backward()
    """
    student, teacher = check_pair(student_logits, teacher_logits, look=False, wide=False)
    check_temperature(temperature)
    options = dict(temperature=temperature, standardize=standardize)
    loss = fused("kd", backend, student_logits, teacher_logits, None, reduction, **options)
    loss = reduce(kd_rows(widen(student), widen(teacher), None, **options), reduction) if loss is None else loss
    return checked(loss, student, teacher)


@reference("kd")
def kd_rows(
    student: Tensor, teacher: Tensor, target: None, temperature: float | Tensor, standardize: bool
) -> Tensor:
    """[B], of checked logits."""
    if standardize:
        student, teacher = z_scores(student), z_scores(teacher)
    log_p = F.log_softmax(student / temperature, dim=1)
    log_q = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(dim=1)
