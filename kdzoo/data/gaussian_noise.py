"""Add Gaussian noise, as the base classifier of randomized smoothing is trained."""

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from kdzoo.data.counter_noise import counter_normal
from kdzoo.data.pixels import to_float
from kdzoo.registry import AUGMENTS


@AUGMENTS.register()
@dataclass(frozen=True)
class GaussianNoise:
    """Gaussian augmentation (Cohen et al., ICML 2019): noise of one sigma on images in [0, 1].

    The noise is float32, added before the model's normalisation, and nothing is clipped: a smoothed
    classifier sees exactly such images. Put it last, for what follows gets floats beyond [0, 1].

    Args:
        sigma: standard deviation in units of pixels in [0, 1] (the paper: 0.12, 0.25, 0.5, 1.0); no default.
    """

    sigma: float
    views = None

    def __post_init__(self):
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"sigma is {self.sigma}; use a positive number, in units of pixels in [0, 1]")

    def draw(self, rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
        """[count, 2]: the key of each image's noise."""
        return rng.integers(2**32, size=(count, 2))

    def apply(self, images: Tensor, draws: np.ndarray) -> Tensor:
        noise = counter_normal(0, draws[:, 0], draws[:, 1], images.shape[1:], images.device)
        return to_float(images).add(noise, alpha=self.sigma)
