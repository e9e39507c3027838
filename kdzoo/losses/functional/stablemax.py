"""StableMax cross-entropy: a softmax that does not absorb small logits."""

import torch
from torch import Tensor

from kdzoo.kernels.dispatch import fused
from kdzoo.kernels.ops import reference
from kdzoo.losses.functional.checks import check_logits, check_target, reduce, widen
from kdzoo.losses.functional.labels import label_loss


def stablemax_cross_entropy(
    logits: Tensor, target: Tensor, reduction: str = "mean", backend: str = "auto"
) -> Tensor:
    r"""Cross-entropy of :math:`p_c = s(z_c) / \sum_k s(z_k)`, with s(x) = x + 1 for x >= 0 and 1 / (1 - x) below.

    s grows linearly instead of exponentially, so gradients do not vanish once the label leads by
    more than the number format resolves. Unlike softmax it is not invariant to shifts. s is once
    continuously differentiable at 0.

    Computed from log s(x) = sign(x) log(1 + |x|), so no term over- or underflows; the authors' code
    takes probabilities in float64 instead.

    Args:
        logits: [B, C].
        target: class indices [B], or soft labels [B, C].
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
        backend: ``"auto"``, ``"torch"`` or ``"triton"``; see :mod:`kdzoo.kernels.dispatch`.

    Source: Prieto et al., Grokking at the Edge of Numerical Stability, ICLR 2025.

    Example:
        >>> loss = stablemax_cross_entropy(logits, labels)
        >>> loss.backward()
    """
    given = check_logits(logits, "logits", wide=False)
    target = check_target(target, given)
    loss = fused("stablemax_cross_entropy", backend, logits, None, target, reduction)
    return reduce(_rows(widen(given), None, target), reduction) if loss is None else loss


@reference("stablemax_cross_entropy")
def _rows(logits: Tensor, teacher: None, target: Tensor) -> Tensor:
    # Each branch sees only its own side: sign(x) * log1p(|x|), or a clamp, would have the gradient 0 at 0.
    positive = logits >= 0
    above, below = torch.where(positive, logits, 0.0), torch.where(positive, 0.0, -logits)
    log_s = torch.where(positive, torch.log1p(above), -torch.log1p(below))
    log_p = log_s - torch.logsumexp(log_s, dim=1, keepdim=True)
    return label_loss(log_p, target, torch.neg)
