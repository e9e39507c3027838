"""Hide a random square of each image."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kdzoo.data.pixels import upload
from kdzoo.registry import AUGMENTS


@AUGMENTS.register()
@dataclass(frozen=True)
class Cutout:
    """Cutout (DeVries and Taylor, arXiv 1708.04552, 2017).

    The square's centre is drawn from all pixels, so a part of it may lie outside. It is filled
    with the data set's mean, which is what the paper's zero after normalisation stands for.

    Args:
        size: side of the square in pixels (the paper: 16 for CIFAR-10, 8 for CIFAR-100).
        mean: fill per channel (or one for all), in [0, 1]; the data set's where the config does not say.
    """

    size: int
    mean: tuple[float, ...]
    views = None

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"size is {self.size}; use 1 or more pixels")
        if not all(0 <= value <= 1 for value in self.mean):
            raise ValueError(f"mean is {list(self.mean)}; use numbers from 0 to 1, one a channel")

    def draw(self, rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
        return rng.integers((height, width), size=(count, 2))

    def apply(self, images: Tensor, draws: np.ndarray) -> Tensor:
        height, width = images.shape[-2:]
        top, left = (draws - self.size // 2).T[..., None]  # [B, 1] each
        down, right = np.arange(height) - top, np.arange(width) - left  # pixels from the square's corner
        rows = upload((0 <= down) & (down < self.size), images.device)  # [B, H]
        columns = upload((0 <= right) & (right < self.size), images.device)  # [B, W]
        fill = np.asarray(self.mean, dtype=np.float32)[None, :, None, None]
        if images.dtype == torch.uint8:
            fill = np.rint(fill * 255).astype(np.uint8)
        return torch.where(rows[:, None, :, None] & columns[:, None, None, :], upload(fill, images.device), images)
