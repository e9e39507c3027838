"""Cross-entropy with class indices or soft labels."""

import torch.nn.functional as F
from torch import Tensor

from kdzoo.kernels.dispatch import fused
from kdzoo.kernels.ops import reference
from kdzoo.losses.functional.checks import check_logits, check_target, reduce, widen


def cross_entropy(
    logits: Tensor, target: Tensor, label_smoothing: float = 0.0, reduction: str = "mean", backend: str = "auto"
) -> Tensor:
    """Cross-entropy of [B, C] logits, in float32 or wider.

    Args:
        logits: [B, C].
        target: class indices [B] (int64), or soft labels [B, C] whose rows sum to 1.
        label_smoothing: mass spread evenly over all classes, in [0, 1).
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
        backend: ``"auto"``, ``"torch"`` or ``"triton"``; see :mod:`kdzoo.kernels.dispatch`.

    Example:
        >>> loss = cross_entropy(logits, labels, label_smoothing=0.1)
        >>> loss.backward()
    """
    given = check_logits(logits, "logits", wide=False)
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    target = check_target(target, given)
    loss = fused("cross_entropy", backend, logits, None, target, reduction, label_smoothing=label_smoothing)
    return reduce(_rows(widen(given), None, target, label_smoothing), reduction) if loss is None else loss


@reference("cross_entropy")
def _rows(logits: Tensor, teacher: None, target: Tensor, label_smoothing: float) -> Tensor:
    return F.cross_entropy(logits, target, label_smoothing=label_smoothing, reduction="none")
