"""Paste a random box of another image, and its share of the target."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from kdzoo.data.mixup import mix_targets
from kdzoo.registry import AUGMENTS


@AUGMENTS.register()
@dataclass(frozen=True)
class CutMix:
    """CutMix (Yun et al., ICCV 2019): a box of the partner's pixels, targets by area.

    One box a batch: its area is 1 - share of the image with share from Beta(alpha, alpha), its
    centre is drawn from all pixels, what lies outside is cut off, and the targets are mixed by the
    pixels really pasted. Streamed sets mix within a process.

    Args:
        alpha: of the Beta distribution, above 0 (the paper: 1.0).
        num_classes: of the soft targets; the data set's where the config does not say.
    """

    alpha: float
    num_classes: int
    views = None
    mixes = True

    def __post_init__(self):
        if self.alpha <= 0:
            raise ValueError(f"alpha is {self.alpha}; use a number above 0")

    def draw(self, rng: np.random.Generator, count: int, height: int, width: int) -> tuple[slice, slice]:
        side = np.sqrt(1 - rng.beta(self.alpha, self.alpha))
        return _span(rng, height, side), _span(rng, width, side)

    def apply(
        self, images: Tensor, partners: Tensor, target: Tensor, partner_target: Tensor, draw: tuple[slice, slice]
    ) -> tuple[Tensor, Tensor]:
        rows, columns = draw
        mixed = images.clone()
        mixed[:, :, rows, columns] = partners[:, :, rows, columns]
        pasted = (rows.stop - rows.start) * (columns.stop - columns.start) / (images.shape[2] * images.shape[3])
        return mixed, mix_targets(target, partner_target, 1 - pasted, self.num_classes)


def _span(rng: np.random.Generator, size: int, part: float) -> slice:
    """A stretch of about ``part * size`` pixels around a random one, cut off at the borders."""
    length, centre = int(part * size), int(rng.integers(size))
    start = centre - length // 2
    return slice(max(start, 0), min(start + length, size))
