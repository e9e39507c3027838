"""Consistency regularisation: the noisy copies of an image should agree, and surely."""

import math

import torch.nn.functional as F
from torch import Tensor

from kdzoo.robust.certify.training.noisy import check_copies


def consistency_loss(
    logits: Tensor, target: Tensor, strength: float = 10.0, entropy: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of all copies, and Jeong and Shin's regulariser (NeurIPS 2020).

    Args:
        logits: [M, B, K] of M >= 2 noisy copies.
        target: [B] int64.
        strength: of mean_i KL(p_mean || p_i), the paper's lambda (10 at sigma 0.25 and 0.5).
        entropy: of the entropy of p_mean, the paper's eta (0.5).

    Returns:
        ``(cross entropy, regulariser)``, scalars to be added; computed in float32 or wider.

    Example:
        >>> sum(consistency_loss(noisy_logits(model, images, noise), target)).backward()
    """
    check_copies(logits, target, least=2)
    logits = logits if logits.dtype.itemsize >= 4 else logits.float()
    log_p = logits.log_softmax(dim=-1)  # [M, B, K]
    log_mean = log_p.logsumexp(dim=0) - math.log(len(log_p))  # [B, K]
    mean = log_mean.exp()
    divergence = (mean * (log_mean - log_p)).sum(dim=-1).mean(dim=0)  # [B]
    entropy_of_mean = -(mean * log_mean).sum(dim=-1)
    cross_entropy = F.nll_loss(log_p.flatten(0, 1), target.repeat(len(logits)))
    return cross_entropy, (strength * divergence + entropy * entropy_of_mean).mean()
