"""Cross-entropy with class indices or soft labels."""

import torch.nn.functional as F
from torch import Tensor

from kdzoo.losses.functional.checks import check_logits, check_target, reduce


def cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0, reduction: str = "mean") -> Tensor:
    """Cross-entropy of [B, C] logits, in float32 or wider.

    Args:
        logits: [B, C].
        target: class indices [B] (int64), or soft labels [B, C] whose rows sum to 1.
        label_smoothing: mass spread evenly over all classes, in [0, 1).
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].

    Example:
        >>> loss = cross_entropy(logits, labels, label_smoothing=0.1)
        >>> loss.backward()
    """
    logits = check_logits(logits, "logits")
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    target = check_target(target, logits)
    rows = F.cross_entropy(logits, target, label_smoothing=label_smoothing, reduction="none")
    return reduce(rows, reduction)
