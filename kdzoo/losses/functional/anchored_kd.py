"""Anchored listwise distillation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.losses.functional.checks import check_logits, check_target, check_temperature, reduce


def anchored_kd(
    student_logits: Tensor,
    target: Tensor,
    anchor_logits: Tensor | None = None,
    temperature: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    r""":math:`\mathrm{KL}\big(q \,\|\, \mathrm{softmax}((s - s_{ref}) / \tau)\big)`, summed over classes.

    The student is asked to differ from an anchor by q: at the minimum s = s_ref + tau log q + const.
    Special cases:

    - no anchor, q = softmax(t / tau): KD without its factor tau^2;
    - no anchor, q the labels: cross-entropy at temperature tau (less the labels' entropy);
    - an anchor, q the label: listwise DPO, the preference of the label over every other class
      relative to a reference model; with two classes it is DPO's
      -log sigmoid(beta (margin - reference margin)), beta = 1 / tau.

    Args:
        student_logits: [B, C], s.
        target: q, as soft labels [B, C] whose rows sum to 1 (say, the teacher's softened
            probabilities) or class indices [B]; detached.
        anchor_logits: [B, C], s_ref, detached; logits or log-probabilities alike. ``None`` for zeros.
        temperature: tau, above 0; 1 is our choice. There is no factor tau^2.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].

    Source: Wang, ADPO: Anchored Direct Preference Optimization, 2025 (arXiv 2510.18913; the abstract's
    formula, the rest of the paper was not checked); DPO: Rafailov et al., NeurIPS 2023.

    Example:
        >>> loss = anchored_kd(student_logits, (teacher_logits / 4).softmax(dim=1), temperature=4.0)
        >>> loss.backward()
    """
    student = check_logits(student_logits, "student_logits")
    target = check_target(target.detach(), student)
    check_temperature(temperature)
    if anchor_logits is not None:
        if anchor_logits.shape != student.shape:
            shapes = f"{list(student.shape)} and {list(anchor_logits.shape)}"
            raise ValueError(f"student_logits and anchor_logits must have one shape, got {shapes}")
        student = student - check_logits(anchor_logits.detach(), "anchor_logits")
    log_p = F.log_softmax(student / temperature, dim=1)
    if target.ndim == 1:
        return reduce(F.nll_loss(log_p, target, reduction="none"), reduction)
    return reduce((torch.xlogy(target, target) - target * log_p).sum(dim=1), reduction)
