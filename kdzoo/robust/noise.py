"""Accuracy under Gaussian noise in pixel space: the plainest question about robustness."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn


@dataclass
class NoiseScore:
    """Top-1 in percent at one noise level; ``sigma`` is of pixels in [0, 1]."""

    sigma: float
    top1: float


@torch.inference_mode()
def accuracy_under_noise(model: nn.Module, loader, sigmas: Sequence[float], seed: int = 0) -> list[NoiseScore]:
    """Top-1 on test images with Gaussian noise added, clipped to [0, 1].

    The noise of an image depends on the seed and its place in the set alone, not on the batch size,
    and is one draw scaled by each sigma.

    Args:
        model: images [B, C, H, W] in [0, 1] -> logits [B, K], in evaluation mode.
        loader: a test loader of ``kdzoo.data.build_data``.
        sigmas: standard deviations, 0 or more.
        seed: of the noise.

    Raises:
        ValueError: a sigma that is negative or not finite.

    Example:
        >>> accuracy_under_noise(model, data.test, [0.0, 0.1, 0.25])
    """
    if not all(0 <= sigma < float("inf") for sigma in sigmas):
        raise ValueError(f"sigma must be at least 0 and finite, got {list(sigmas)}")
    right, count = [0] * len(sigmas), 0
    for batch in loader.epoch(0):
        noise = torch.stack([_noise(seed, count + row, batch.images.shape[1:]) for row in range(len(batch.images))]).to(
            batch.images.device
        )
        for place, sigma in enumerate(sigmas):
            noisy = (batch.images + sigma * noise).clamp(0, 1)
            right[place] += int((model(noisy).argmax(dim=1) == batch.target).sum())
        count += len(batch.images)
    return [NoiseScore(sigma, 100 * number / count) for sigma, number in zip(sigmas, right, strict=True)]


def _noise(seed: int, index: int, shape: torch.Size) -> torch.Tensor:
    # Hashed to 32 bits: torch's CPU generator reads no more of its seed.
    key = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
    generator = torch.Generator().manual_seed(key)
    return torch.randn(shape, generator=generator)
