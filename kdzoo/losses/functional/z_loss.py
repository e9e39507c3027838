"""Z-loss: a loss of the label's Z-score."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.losses.functional.checks import check_logits, check_target, reduce
from kdzoo.losses.functional.labels import label_loss
from kdzoo.losses.functional.standardize import STD_FLOOR


def z_loss(logits: Tensor, target: Tensor, a: float = 1.0, b: float = 0.0, reduction: str = "mean") -> Tensor:
    r""":math:`\frac{1}{a}\,\mathrm{softplus}(a\,(b - z_y))`, z_y the label's Z-score among its row's logits.

    :math:`z_y = (o_y - \mathrm{mean}_c o) / \mathrm{std}_c o` with the population's deviation (divided
    by C), so the loss ignores shifts and positive scales of a row. The largest Z-score there is,
    sqrt(C - 1), bounds the loss from below: choose b below it. Not the "z-loss" of PaLM, which is
    the squared log-normaliser.

    A row with a deviation under 1e-4 keeps its value (``softplus(a b) / a`` for a constant row) but
    passes no gradient on, as in :func:`standardize`.

    Args:
        logits: [B, C].
        target: class indices [B], or soft labels [B, C] (the labels' mean loss; our extension).
        a: sharpness, above 0. The paper tunes it per task; 1 is the plain softplus.
        b: the Z-score asked for; tuned per task too.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].

    Source: de Brébisson and Vincent, The Z-loss: a shift and scale invariant classification loss
    belonging to the Spherical Family, 2016. The formula is from the abstract's page; the paper's
    hyper-parameters were not checked.

    Example:
        >>> loss = z_loss(logits, labels, a=0.1, b=10.0)
        >>> loss.backward()
    """
    logits = check_logits(logits, "logits")
    target = check_target(target, logits)
    check_z(a, b)
    centred = logits - logits.mean(dim=1, keepdim=True)
    std = centred.square().mean(dim=1, keepdim=True).clamp_min(torch.finfo(logits.dtype).tiny).sqrt()  # [B, 1]
    scores = centred / std
    scores = torch.where(std < STD_FLOOR, scores.detach(), scores)
    return reduce(label_loss(scores, target, lambda z: F.softplus(a * (b - z)) / a), reduction)


def check_z(a: float, b: float) -> None:
    if not a > 0:
        raise ValueError(f"a must be above 0, got {a}")
    if not abs(b) < float("inf"):
        raise ValueError(f"b must be finite, got {b}")
