"""Several noisy copies of each image, and what a model says of them."""

import torch
from torch import Tensor, nn


def make_noise(images: Tensor, sigma: float, copies: int, generator: torch.Generator | None = None) -> Tensor:
    """[M, B, C, H, W] float32: ``copies`` draws of N(0, sigma^2) for images [B, C, H, W]."""
    if copies < 1 or not sigma > 0:
        raise ValueError(f"copies must be at least 1 and sigma positive, got {copies} and {sigma}")
    shape = (copies, *images.shape)
    return sigma * torch.randn(shape, generator=generator, device=images.device, dtype=torch.float32)


def noisy_logits(model: nn.Module, images: Tensor, noise: Tensor) -> Tensor:
    """Logits of every noisy copy in one forward pass.

    Args:
        model: images [B, C, H, W] to logits [B, K].
        images: [B, C, H, W] in [0, 1].
        noise: [M, B, C, H, W], of :func:`make_noise`.

    Returns:
        [M, B, K].

    Example:
        >>> noisy_logits(model, images, make_noise(images, 0.25, copies=2)).shape      # [2, B, K]
    """
    logits = model((images + noise).flatten(0, 1))
    return logits.view(*noise.shape[:2], -1)


def check_copies(logits: Tensor, target: Tensor, least: int = 1) -> None:
    """Refuse logits that are not [M, B, K] for the target [B]."""
    if logits.ndim != 3 or target.shape != logits.shape[1:2] or len(logits) < least:
        raise ValueError(
            f"expected logits [M, B, K] with M >= {least} and a target [B], got {list(logits.shape)} and "
            f"{list(target.shape)}"
        )
