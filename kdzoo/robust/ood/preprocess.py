"""Input pre-processing: a small step of the image that makes an in-distribution one look more so."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def score_gradient_sign(images: Tensor, losses: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]:
    """Sign of the gradient of each loss with respect to the images, 0 counted as +1 (as published).

    Args:
        images: [B, C, H, W].
        losses: images -> a list of [B], one forward pass for all of them.

    Returns:
        A tensor like ``images`` of +1 and -1 for each loss.
    """
    with torch.inference_mode(False), torch.enable_grad():
        images = images.detach().clone().requires_grad_()
        values = losses(images)
        signs = []
        for place, value in enumerate(values):
            # The sum, not the mean: only the sign counts, and dividing could lose small gradients.
            (gradient,) = torch.autograd.grad(value.sum(), images, retain_graph=place + 1 < len(values))
            signs.append(torch.where(gradient >= 0, 1.0, -1.0).to(images))
    return signs


def step(images: Tensor, sign: Tensor, epsilon: float, std: Sequence[float] | None = None) -> Tensor:
    """``images - epsilon * sign``, not clipped (as published).

    Args:
        images: [B, C, H, W].
        sign: likewise.
        epsilon: of pixels in [0, 1].
        std: per channel, for models that take images already divided by it; ``None`` for a model that takes
            [0, 1] and normalises inside, as every ``kdzoo`` model does.
    """
    if std is not None:
        if len(std) != images.shape[1] or not all(value > 0 for value in std):
            raise ValueError(f"std is expected as {images.shape[1]} positive numbers but got {list(std)}")
        sign = sign / torch.as_tensor(std).to(images).view(-1, 1, 1)
    return images.detach() - epsilon * sign
