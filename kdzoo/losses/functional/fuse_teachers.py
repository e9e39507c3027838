"""Several teachers' logits fused into one teacher's."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdzoo.losses.functional.checks import check_logits, check_target, check_temperature, check_weight
from kdzoo.losses.functional.tilt import tilt


@torch.no_grad()
def kl_constrained_weights(scores: Tensor, radius: float) -> Tensor:
    r"""Weights on the simplex with the largest mean score within a KL ball around uniform.

    :math:`\max_w \sum_k w_k a_k` subject to :math:`\mathrm{KL}(w \,\|\, \mathrm{uniform}) \le radius`. The
    solution is w = softmax(beta a) with beta from a search in float64: the constraint holds with equality
    to 1e-12, however little the scores differ. At the ends, radius 0 gives uniform weights and a radius of
    log K or more the best score all; ties share, and so do differences below 1e-12 of the scores' spread.

    Args:
        scores: [..., K], higher is better.
        radius: in nats, 0 or more.

    Returns:
        [..., K] in float64; rows sum to 1. No gradient.

    Example:
        >>> kl_constrained_weights(torch.tensor([0.0, 1.0]), radius=0.1)
        tensor([0.2802, 0.7198], dtype=torch.float64)
    """
    check_weight(radius, "radius")
    if not scores.is_floating_point() or scores.ndim < 1:
        raise ValueError(f"scores must be floating [..., K], got {scores.dtype} {list(scores.shape)}")
    found = tilt(scores, radius)
    return (found.sharpness * found.unit).softmax(dim=-1)


@torch.no_grad()
def fuse_teachers(
    teacher_logits: Tensor | Sequence[Tensor],
    radius: float = 0.1,
    target: Tensor | None = None,
    temperature: float = 1.0,
    per_image: bool = True,
) -> Tensor:
    r""":math:`t = \sum_k w_k t_k`, with a weight for every teacher and image under a KL constraint.

    Averaging logits is the fusion in the KL sense: softmax(t) minimises
    :math:`\sum_k w_k \mathrm{KL}(q \,\|\, \mathrm{softmax}(t_k))` over q. The weights
    (:func:`kl_constrained_weights`) favour the teachers with the better score but stay within ``radius``
    of uniform. The score is the log-probability of the label where ``target`` is given, else the
    teacher's confidence: its negative entropy.

    The scores and the constraint are OUR reading of "dynamic fusion by KL-constrained weights"; no
    paper's formula stands behind them. They contain the plain mean (radius 0), the best
    teacher (radius log K or more) and, between, entropy-based weighting. Fan et al. fuse the logits of
    fine-tuned experts around a base model under another KL constraint (their abstract only was
    read).

    Args:
        teacher_logits: [K, B, C], or K tensors [B, C].
        radius: how far the weights may go from uniform, in nats: 0 or more; log K is as far as there is. For
            two teachers 0.1 allows weights of 0.28 and 0.72. Our choice.
        target: class indices [B] or soft labels [B, C]; ``None`` for confidence.
        temperature: the scores are taken of logits divided by it.
        per_image: ``False`` averages the scores over the batch first: one weight a teacher.

    Returns:
        [B, C] in float32 or wider, without gradient.

    Related: Kwon et al., Adaptive Knowledge Distillation Based on Entropy, ICASSP 2020; Zhang et al.,
    Confidence-Aware Multi-Teacher Knowledge Distillation, ICASSP 2022; Fan et al., On Giant's
    Shoulders: Effortless Weak to Strong by Dynamic Logits Fusion, NeurIPS 2024.

    Example:
        >>> teacher_logits = fuse_teachers([first_logits, second_logits], radius=0.1)
        >>> loss = kd(student_logits, teacher_logits)
    """
    logits = _stack(teacher_logits)
    check_temperature(temperature)
    log_p = (logits.double() / temperature).log_softmax(dim=-1)  # [K, B, C]
    if target is None:
        scores = (log_p.exp() * log_p).sum(dim=-1)  # [K, B], negative entropy
    else:
        target = check_target(target, logits[0])
        soft = target[:, None] if target.ndim == 1 else target
        scores = torch.stack([p.gather(1, soft).squeeze(1) if target.ndim == 1 else (p * soft).sum(1) for p in log_p])
    if not per_image:
        scores = scores.mean(dim=1, keepdim=True)  # [K, 1]
    weights = kl_constrained_weights(scores.T, radius)  # [B or 1, K]
    return (weights.T[:, :, None] * logits.double()).sum(dim=0).to(logits.dtype)


def _stack(teacher_logits: Tensor | Sequence[Tensor]) -> Tensor:
    """[K, B, C], widened; ValueError unless there is at least one teacher and all have one shape."""
    if not len(teacher_logits):
        raise ValueError("teacher_logits must hold the logits of at least one teacher, got none")
    shapes = [list(logits.shape) for logits in teacher_logits]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"teacher_logits must have one shape, got {shapes}")
    return torch.stack([check_logits(logits, "teacher_logits") for logits in teacher_logits])
