"""Universal self-knowledge distillation: soft labels without a teacher."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.losses.functional.checks import check_pair, check_target, check_weight, reduce
from kdzoo.losses.functional.non_target import non_target

RANK_MODES = ("official", "paper")


def uskd(
    student_logits: Tensor,
    weak_logits: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    beta: float = 0.1,
    mu: float = 0.005,
    rank_mode: str = "official",
    reduction: str = "mean",
) -> Tensor:
    r""":math:`-\alpha P \log p_y - \beta \sum_{c \ne y} z_c \log n_c - \mu \sum_c W_c \log w_c`.

    - p, w: probabilities of the student and of a weak head on a feature further down; n: softmax of
      the student over the classes other than the label.
    - P = v + p_y^2 - mean over the batch of p_y^2, with the label's value v (1, or what a soft label says).
    - W = 0.9 Y + 0.1 / C, smoothed labels for the weak head.
    - z: Zipf's 1 / rank over all classes, the label's dropped, the rest normalised; ranked by
      weak plus strong evidence, w_c / (1 - w_y) + A_c.

    P, z and W are constants: the student learns through log p and log n, the weak head
    (not detached: it reaches the backbone) through log w. The label's own cross-entropy belongs
    beside it, with weight 1. With C = 2 and a two-label target no other class is left and z is empty.

    Args:
        student_logits: [B, C].
        weak_logits: [B, C] of the weak head.
        target: class indices [B], or soft labels [B, C]: the two largest entries are labels, with
            their values. An entry of 0 is no label, so that a one-hot row is its class index; the
            authors' code drops an arbitrary second class there.
        alpha: weight of the target part; 1 on ImageNet, 0.1 on CIFAR-100, as in the authors' code.
        beta: weight of the non-target part; 0.1.
        mu: weight of the weak head's part; 0.005 on ImageNet, 0.1 on CIFAR-100.
        rank_mode: ``"official"``: A_c = log p_c / (1 - log p_y), as the authors' code computes
            it; ``"paper"``: A_c = p_c / (1 - p_y), which the weak part suggests was meant (the paper's own
            formula was not at hand: unverified).
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].

    Source: Yang et al., From Knowledge Distillation to Self-Knowledge Distillation: A Unified
    Approach with Normalized Loss and Customized Soft Labels, ICCV 2023.

    Example:
        >>> loss = uskd(student_logits, weak_logits, target, alpha=0.1, beta=0.1, mu=0.1)
        >>> loss.backward()
    """
    student, weak = check_pair(student_logits, weak_logits, "weak_logits", detach=False)
    target = check_target(target, student)
    for name, weight in (("alpha", alpha), ("beta", beta), ("mu", mu)):
        check_weight(weight, name)
    if rank_mode not in RANK_MODES:
        raise ValueError(f"rank_mode must be one of {RANK_MODES}, got {rank_mode!r}")
    log_p, log_w = F.log_softmax(student, dim=1), F.log_softmax(weak, dim=1)
    label, value = _labels(target, student)  # [B, k]
    mask = torch.zeros_like(student, dtype=torch.bool).scatter_(1, label, value > 0)
    log_p_label = log_p.gather(1, label)
    with torch.no_grad():
        square = torch.where(value > 0, (2 * log_p_label).exp(), 0.0)
        share = torch.where(value > 0, value + square - square.mean(dim=0), 0.0)  # P
        zipf = _zipf(_evidence(log_p, log_w, mask, rank_mode), mask)
        soft = target if target.ndim == 2 else torch.zeros_like(student).scatter_(1, label, value)
    of_target = -(share * log_p_label).sum(dim=1)
    of_weak = -((0.9 * soft + 0.1 / soft.shape[1]) * log_w).sum(dim=1)
    if soft.shape[1] == 2:  # a row of two labels has no other class, and zeros in zipf
        mask = mask & ~mask.all(dim=1, keepdim=True)
    of_others = -(zipf * non_target(student, mask)).sum(dim=1)
    return reduce(alpha * of_target + beta * of_others + mu * of_weak, reduction)


def _labels(target: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """The labels [B, k] and their values [B, k]: k = 1 for class indices, 2 for soft labels."""
    if target.ndim == 1:
        return target[:, None], torch.ones_like(logits[:, :1])
    value, label = target.detach().topk(2, dim=1)
    return label, value


def _evidence(log_p: Tensor, log_w: Tensor, mask: Tensor, rank_mode: str) -> Tensor:
    """[B, C], what the classes are ranked by; 1e-6 as in the authors' code."""
    w = log_w.exp()
    strong = log_p if rank_mode == "official" else log_p.exp()
    return sum(x / (1 - (x * mask).sum(dim=1, keepdim=True) + 1e-6) for x in (w, strong))


def _zipf(evidence: Tensor, mask: Tensor) -> Tensor:
    """[B, C]: 1 / rank, 0 at the labels, rows of sum 1 (of 0 where every class is a label)."""
    order = evidence.argsort(dim=1, descending=True, stable=True)
    ranks = torch.arange(1, order.shape[1] + 1, device=order.device, dtype=evidence.dtype)
    zipf = torch.zeros_like(evidence).scatter_(1, order, ranks.reciprocal().expand_as(evidence))
    zipf = zipf.masked_fill(mask, 0.0)
    return zipf / zipf.sum(dim=1, keepdim=True).clamp_min(torch.finfo(zipf.dtype).tiny)
