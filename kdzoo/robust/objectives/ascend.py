"""Projected gradient ascent on any score of the perturbed images, for objectives that attack by more than a label."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdzoo.robust.attacks.ascent import TINY, sparse_sign
from kdzoo.robust.attacks.budget import check_eps, project
from kdzoo.robust.attacks.evaluation_mode import evaluation_mode
from kdzoo.robust.attacks.projections import change_norm, per_image

L1_SHARE = 0.05  # of the pixels an L1 step moves, as in the training form of APGD


def ascend(
    model: nn.Module,
    images: Tensor,
    score: Callable[[Tensor], Tensor],
    norm: str,
    eps: float,
    steps: int,
    step_size: float | None = None,
    noise: float = 0.001,
) -> Tensor:
    """Images [B, C, H, W] in [0, 1] within eps that raise ``score``, by steepest ascent with the model in evaluation.

    Args:
        model: images in [0, 1] -> logits.
        images: [B, C, H, W] in [0, 1].
        score: logits [B, K] of the perturbed images -> [B] or a sum.
        norm, eps, steps: threat model and number of steps.
        step_size: of each step in that norm; ``None``: eps / 4 (2/255 for 8/255, as in the literature).
        noise: deviation of the normal noise to start from; where the clean image is the score's minimum, its gradient
            there is 0.
    """
    check_eps(eps, norm, images[0].numel())
    step_size = eps / 4 if step_size is None else step_size
    images = images.detach()
    x = project(images, images + noise * torch.randn_like(images), norm, eps)
    with evaluation_mode(model), torch.inference_mode(False), torch.enable_grad():
        for _ in range(steps):
            x.requires_grad_()
            (gradient,) = torch.autograd.grad(score(model(x).float()).sum(), x)
            x = project(images, x.detach() + step_size * steepest(gradient, norm), norm, eps)
    return x


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """The direction [B, C, H, W] of norm 1 in which a linear function rises the fastest; L1: over a share of pixels."""
    if norm == "Linf":
        return gradient.sign()
    if norm == "L2":
        return gradient / (per_image(change_norm(gradient, "L2"), gradient) + TINY)
    return sparse_sign(gradient, torch.full((len(gradient),), L1_SHARE, dtype=gradient.dtype, device=gradient.device))
