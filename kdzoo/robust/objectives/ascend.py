"""Projected gradient ascent on any score of the perturbed images, for objectives that attack by more than a label."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdzoo.robust.attacks.apgd_train import check_budget
from kdzoo.robust.attacks.ball import norm_of, project, sparse_sign
from kdzoo.robust.objectives.adversarial import evaluating

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
    check_budget(norm, eps, steps)
    step_size = eps / 4 if step_size is None else step_size
    images = images.detach()
    x = project(images, images + noise * torch.randn_like(images), norm, eps)
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
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
        return gradient / (norm_of(gradient, "L2") + 1e-12)
    return sparse_sign(gradient, torch.full((len(gradient),), L1_SHARE, dtype=gradient.dtype, device=gradient.device))
