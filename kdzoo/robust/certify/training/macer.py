"""MACER: maximise the certified radius of the images that are right."""

import math

import torch
from torch import Tensor

from kdzoo.robust.certify.training.noisy import check_copies


def macer_loss(
    logits: Tensor, target: Tensor, sigma: float, strength: float = 12.0, beta: float = 16.0, gamma: float = 8.0
) -> tuple[Tensor, Tensor]:
    """NLL of the averaged softmax, and a hinge on the soft certified radius (Zhai et al., ICLR 2020).

    Args:
        logits: [M, B, K] of M noisy copies (the paper: 16).
        target: [B] int64.
        sigma: of the noise.
        strength: of the hinge, the paper's lambda (12 at sigma 0.25).
        beta: inverse temperature of the soft votes.
        gamma: margins above it gain nothing.

    Returns:
        ``(nll, hinge)``, scalars to be added: means over the batch. The hinge counts images whose soft vote is
        right; margins that are not finite are left out, as in the paper's code.

    Example:
        >>> sum(macer_loss(noisy_logits(model, images, noise), target, sigma=0.25)).backward()
    """
    check_copies(logits, target)
    logits = logits if logits.dtype.itemsize >= 4 else logits.float()
    log_p = logits.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(logits))  # [B, K]
    nll = -log_p.gather(1, target[:, None]).mean()
    top, classes = (beta * logits).softmax(dim=-1).mean(dim=0).topk(2, dim=1)  # [B, 2]
    with torch.no_grad():
        inside = ((top > 0) & (top < 1)).all(dim=1)
        active = inside & (classes[:, 0] == target) & (_margin(top) <= gamma)
    # A stand-in for the others: the slope at a vote of 1e-42 is infinite, and 0 times it no number.
    margin = _margin(torch.where(active[:, None], top, 0.5))
    hinge = torch.where(active, gamma - margin, torch.zeros_like(margin)).sum() / len(target)
    return nll, strength * sigma / 2 * hinge


def _margin(votes: Tensor) -> Tensor:
    """[B] of the two largest soft votes [B, 2]."""
    quantile = torch.special.ndtri(votes)
    return quantile[:, 0] - quantile[:, 1]
