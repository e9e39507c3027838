"""Mirror left and right."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kdzoo.data.pixels import pick, upload
from kdzoo.registry import AUGMENTS


@AUGMENTS.register()
@dataclass(frozen=True)
class Flip:
    """Mirror an image left to right. View 0 is the image, view 1 its mirror image.

    Args:
        p: probability of the mirror image (default 0.5).
    """

    p: float = 0.5
    views = 2  # not a field: the same for every Flip

    def __post_init__(self):
        if not 0 <= self.p <= 1:
            raise ValueError(f"p is {self.p}; a probability lies in [0, 1]")

    def draw(self, rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
        return (rng.random(count) < self.p).astype(np.int64)

    def apply(self, images: Tensor, draws: np.ndarray) -> Tensor:
        rows = np.flatnonzero(draws)
        source = np.arange(len(draws))
        source[rows] = len(draws) + np.arange(len(rows))
        mirrored = pick(images, upload(rows, images.device)).flip(3)
        # Putting both side by side and choosing costs less than writing the mirrored rows back.
        return pick(torch.cat([images, mirrored]), upload(source, images.device))
