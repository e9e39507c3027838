"""RAMP's logit pairing: the predictions under two attacks drawn together where the first attack failed."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def ramp_logit_pairing(
    logits_q: Tensor,
    logits_r: Tensor,
    target: Tensor,
    distance: Literal["kl", "mse", "published_mse", "cosine"] = "kl",
) -> Tensor:
    r"""Mean distance of two adversarial predictions over the images the first attack did not fool.

    :math:`\frac{1}{n_c} \sum_{i \in \gamma} KL(\mathrm{softmax}\, q_i \,\|\, \mathrm{softmax}\, r_i)` with
    :math:`\gamma` the images whose top class under q is the label; 0, with a gradient of 0, where there is none.
    Both sides get gradients. Computed in float32 or wider.

    Args:
        logits_q: [B, K] on the images attacked in the source norm q, the one with the lowest robust accuracy.
        logits_r: [B, K] on those of the target norm r.
        target: [B] true classes.
        distance: ``"kl"``, or the paper's variants: ``"mse"``, half the squared distance; ``"published_mse"``, the
            published code's scale of it, which divides by n_c twice and by K; ``"cosine"``, 1 - cosine.

    Returns:
        A scalar.

    Source: Jiang and Singh, RAMP: Boosting Adversarial Robustness Against Multiple Lp Perturbations for Universal
    Robustness, NeurIPS 2024.

    Example:
        >>> loss = F.cross_entropy(logits_worst, target) + 1.5 * ramp_logit_pairing(logits_q, logits_r, target)
    """
    if logits_q.ndim != 2 or logits_q.shape != logits_r.shape or target.shape != logits_q.shape[:1]:
        shapes = f"{list(logits_q.shape)}, {list(logits_r.shape)} and {list(target.shape)}"
        raise ValueError(f"expected logits [B, K] twice and classes [B], got {shapes}")
    with torch.autocast(logits_q.device.type, enabled=False):
        q, r = (logits.to(torch.promote_types(logits.dtype, torch.float32)) for logits in (logits_q, logits_r))
        held = (q.argmax(dim=1) == target).to(q.dtype)  # a mask, so that the device need not be asked how many
        count = held.sum().clamp_min(1)
        if distance == "kl":
            log_q, log_r = F.log_softmax(q, dim=1), F.log_softmax(r, dim=1)
            rows = (log_q.exp() * (log_q - log_r)).sum(dim=1)
        elif distance in ("mse", "published_mse"):
            squares = (q - r).square()
            rows = squares.sum(dim=1) / 2 if distance == "mse" else squares.mean(dim=1) / count
        elif distance == "cosine":
            rows = 1 - F.cosine_similarity(q, r, dim=1)
        else:
            raise ValueError(f"distance must be kl, mse, published_mse or cosine, got {distance!r}")
        return (rows * held).sum() / count
