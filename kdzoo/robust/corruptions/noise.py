"""Gaussian, shot and impulse noise."""

from functools import lru_cache

import torch
from torch import Tensor

from kdzoo.robust.corruptions.table import Draw, corruption


@corruption("noise", cifar=(0.04, 0.06, 0.08, 0.09, 0.10), imagenet=(0.08, 0.12, 0.18, 0.26, 0.38))
def gaussian_noise(x: Tensor, sigma: float, draw: Draw) -> Tensor:
    return x + sigma * draw.normal(*x.shape[1:])


@corruption("noise", cifar=(500, 250, 100, 75, 50), imagenet=(60, 25, 12, 5, 3))
def shot_noise(x: Tensor, photons: float, draw: Draw) -> Tensor:
    """Poisson counts, exact for pixels that are multiples of 1/255 (others are rounded to one)."""
    cumulated = _poisson_table(photons).to(x.device)  # [256, K]
    level = (x * 255).round().long()
    # All 256 distributions lie one after the other on one line: a search on it inverts each pixel's.
    line = (cumulated + torch.arange(256, device=x.device)[:, None]).flatten()
    wanted = level + draw.uniform(*x.shape[1:]).double()
    count = torch.searchsorted(line, wanted.contiguous(), right=True) - level * cumulated.shape[1]
    return count.clamp(0, cumulated.shape[1] - 1).float() / photons


@lru_cache(maxsize=16)
def _poisson_table(photons: float) -> Tensor:
    """[256, K] float64: P(count <= k) at the rate of each of the 256 levels of a pixel."""
    rate = torch.arange(256, dtype=torch.float64)[:, None] / 255 * photons
    most = int(photons + 10 * photons**0.5 + 20)
    return torch.special.gammaincc(torch.arange(1, most + 1, dtype=torch.float64)[None, :], rate).clamp(max=1 - 1e-9)


@corruption("noise", cifar=(0.01, 0.02, 0.03, 0.05, 0.07), imagenet=(0.03, 0.06, 0.09, 0.17, 0.27))
def impulse_noise(x: Tensor, share: float, draw: Draw) -> Tensor:
    """Salt and pepper, half each, on every channel by itself."""
    uniform = draw.uniform(*x.shape[1:])
    return torch.where(uniform < share / 2, 0.0, torch.where(uniform >= 1 - share / 2, 1.0, x))
