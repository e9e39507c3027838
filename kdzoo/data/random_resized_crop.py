"""A random part of a picture, resized: the ImageNet recipe's crop, made while decoding."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kdzoo.registry import AUGMENTS


@AUGMENTS.register()
@dataclass(frozen=True)
class RandomResizedCrop:
    """The crop of "Going deeper with convolutions" (Szegedy et al., CVPR 2015), torchvision's.

    For streamed sets only, where pictures come in all sizes, and first in the list: it runs in the
    worker processes, the rest on the device. The result has the data set's ``size``.

    Args:
        scale: smallest and largest part of the area (default 0.08 to 1).
        ratio: smallest and largest width / height (default 3/4 to 4/3).
    """

    scale: tuple = (0.08, 1.0)
    ratio: tuple = (3 / 4, 4 / 3)
    views = None

    def draw(self, rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
        return rng.integers(2**62, size=count)

    def crop(self, picture: Any, size: int, seed: int) -> Any:
        """A PIL picture -> PIL picture of size x size, chosen by ``seed`` alone."""
        from torchvision.transforms import v2

        with torch.random.fork_rng(devices=[]):  # leaves the caller's random numbers as they were
            torch.default_generator.manual_seed(seed)
            return v2.RandomResizedCrop(size, self.scale, self.ratio, antialias=True)(picture)
