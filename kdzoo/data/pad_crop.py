"""Pad by black pixels, then crop a random window of the old size."""

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from kdzoo.data.pixels import upload
from kdzoo.registry import AUGMENTS


@AUGMENTS.register()
@dataclass(frozen=True)
class PadCrop:
    """The shift of the CIFAR recipes (Lee et al., "Deeply-Supervised Nets", AISTATS 2015).

    View ``v`` of an image starts ``v // (2 * padding + 1)`` rows down and
    ``v % (2 * padding + 1)`` columns right in the padded image.

    Args:
        padding: black pixels added on every side (default 4, as for 32 x 32 images).
    """

    padding: int = 4

    def __post_init__(self):
        if self.padding < 0:
            raise ValueError(f"padding is {self.padding}; use 0 or more")

    @property
    def views(self) -> int:
        return (2 * self.padding + 1) ** 2

    def draw(self, rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
        return rng.integers(self.views, size=count)

    def apply(self, images: Tensor, draws: np.ndarray) -> Tensor:
        p, (b, c, h, w) = self.padding, images.shape
        padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, p, p, p, p)).contiguous()  # [B, H + 2p, W + 2p, C]
        top, left = np.divmod(draws, 2 * p + 1)
        corner = (np.arange(b) * (h + 2 * p) + top) * (w + 2 * p) + left
        lines = corner[:, None] + np.arange(h) * (w + 2 * p)  # [B, H], the pixel each line starts at
        # Overlapping lines of w pixels, one starting at every pixel: the crop is one gather of whole lines.
        every = padded.as_strided((padded.numel() // c - w + 1, w * c), (c, 1))
        crop = every.index_select(0, upload(lines.reshape(-1), images.device))
        return crop.view(b, h, w, c).permute(0, 3, 1, 2)
