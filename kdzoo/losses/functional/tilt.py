"""The softmax of scores that lies at a given KL divergence from uniform: one root, found to float64's precision."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Sharpness of the unit scores is sought in this range. Below it weights are uniform to 1e-9; above it
# scores that differ by less than 1e-12 of their row's spread count as ties.
LOWEST, HIGHEST = math.log(1e-9), math.log(1e13)
# Halving brings log-sharpness to 5e-5, from where Newton squares its error. Neither asks the device a
# question, and together they launch a third of the kernels that halving alone would need.
HALVINGS, NEWTONS = 20, 4


class Tilt(NamedTuple):
    """``softmax(sharpness * unit)`` is the tilted distribution; all in float64, without gradient."""

    sharpness: Tensor  # [..., 1], 0 or from 1e-9 to 1e13
    unit: Tensor  # [..., K], (score - best) / spread, in [-1, 0]
    spread: Tensor  # [..., 1], best - worst score; 1 where that is 0


@torch.no_grad()
def tilt(scores: Tensor, radius: float) -> Tilt:
    r"""Find beta >= 0 with :math:`\mathrm{KL}(\mathrm{softmax}(\beta\,a) \,\|\, \mathrm{uniform}) = radius`.

    The divergence grows with beta, from 0 to log(K / m) for m tied best scores. Of all weights
    within ``radius`` of uniform the root's have the largest mean score, which is why it serves both the
    fusion of teachers and the personal temperature.

    Args:
        scores: [..., K], finite.
        radius: in nats, 0 or more. Beyond reach, the sharpness ends at 1e13: the best scores share all.
    """
    scores = scores.double()
    spread = scores.amax(dim=-1, keepdim=True) - scores.amin(dim=-1, keepdim=True)
    spread = torch.where(spread > 0, spread, 1.0)
    unit = (scores - scores.amax(dim=-1, keepdim=True)) / spread
    return Tilt(_sharpness(unit, float(radius)), unit, spread)


# One opaque operator: torch.compile would spend seconds on the loops' two hundred kernels, for nothing.
@torch.library.custom_op("kdzoo::tilt_sharpness", mutates_args=())
def _sharpness(unit: Tensor, radius: float) -> Tensor:
    """[..., 1], from [..., K] in [-1, 0]."""
    if radius <= 0:
        return torch.zeros_like(unit[..., :1])
    low, high = torch.full_like(unit[..., :1], LOWEST), torch.full_like(unit[..., :1], HIGHEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inside = _divergence(middle.exp() * unit)[0] <= radius
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    x = (low + high) / 2
    for _ in range(NEWTONS):
        divergence, w = _divergence(x.exp() * unit)
        mean = (w * unit).sum(dim=-1, keepdim=True)
        slope = (2 * x).exp() * (w * (unit - mean).square()).sum(dim=-1, keepdim=True)  # of divergence over x
        step = (divergence - radius) / slope.clamp_min(torch.finfo(slope.dtype).tiny)
        x = torch.minimum(torch.maximum(x - step, low), high)
    return x.exp()


@_sharpness.register_fake
def _(unit: Tensor, radius: float) -> Tensor:
    return torch.empty_like(unit[..., :1])


def _divergence(scores: Tensor) -> tuple[Tensor, Tensor]:
    """KL(softmax(scores) || uniform) in nats [..., 1] and the softmax, of [..., K] scores."""
    log_w = scores.log_softmax(dim=-1)
    w = log_w.exp()
    return math.log(scores.shape[-1]) + (w * log_w).sum(dim=-1, keepdim=True), w
