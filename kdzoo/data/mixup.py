"""Blend each image, and its target, with another."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kdzoo.data.pixels import to_float
from kdzoo.registry import AUGMENTS


@AUGMENTS.register()
@dataclass(frozen=True)
class Mixup:
    """Mixup (Zhang et al., ICLR 2018): ``share * image + (1 - share) * partner``, targets alike.

    One share a batch, drawn from Beta(alpha, alpha). Streamed sets mix within a process.

    Args:
        alpha: of the Beta distribution, above 0 (the paper: 1.0 for CIFAR, 0.2 for ImageNet).
        num_classes: of the soft targets; the data set's where the config does not say.
    """

    alpha: float
    num_classes: int
    views = None
    mixes = True

    def __post_init__(self):
        if self.alpha <= 0:
            raise ValueError(f"alpha is {self.alpha}; use a number above 0")

    def draw(self, rng: np.random.Generator, count: int, height: int, width: int) -> float:
        return float(rng.beta(self.alpha, self.alpha))

    def apply(
        self, images: Tensor, partners: Tensor, target: Tensor, partner_target: Tensor, draw: float
    ) -> tuple[Tensor, Tensor]:
        mixed = torch.lerp(to_float(partners), to_float(images), draw)
        return mixed, mix_targets(target, partner_target, draw, self.num_classes)


def mix_targets(target: Tensor, partner: Tensor, share: float, num_classes: int) -> Tensor:
    """``share * target + (1 - share) * partner``, [B] int64 or [B, K] -> [B, K] float32."""
    soft, other = (_soft(t, num_classes) for t in (target, partner))
    return soft * share + other * (1 - share)


def _soft(target: Tensor, num_classes: int) -> Tensor:
    if target.ndim == 2:
        return target
    zeros = torch.zeros(len(target), num_classes, device=target.device)
    return zeros.scatter_(1, target[:, None], 1.0)
