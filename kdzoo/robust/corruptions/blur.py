"""Defocus, glass, motion and zoom blur."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.robust.corruptions.filters import clipped_zoom, gaussian, motion
from kdzoo.robust.corruptions.table import Draw, corruption


@corruption(
    "blur",
    cifar=((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    imagenet=((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
)
def defocus_blur(x: Tensor, constant: tuple[float, float], draw: Draw) -> Tensor:
    """A disk of a radius, its edge softened by a Gaussian."""
    kernel = _disk(*constant).to(x.device)
    padding = kernel.shape[0] // 2
    mode = "reflect" if padding < min(x.shape[2:]) else "replicate"
    padded = F.pad(x, (padding,) * 4, mode=mode)
    return F.conv2d(padded, kernel.expand(x.shape[1], 1, *kernel.shape), groups=x.shape[1])


def _disk(radius: float, alias: float) -> Tensor:
    """[K, K], sum 1."""
    soft = 1 if radius <= 8 else 2
    reach = math.floor(radius) + soft
    offsets = np.arange(-reach, reach + 1)
    disk = (offsets[:, None] ** 2 + offsets[None, :] ** 2 <= radius**2).astype(np.float64)
    edge = np.exp(-0.5 * (np.arange(-soft, soft + 1) / alias) ** 2)
    blurred = np.apply_along_axis(np.convolve, 0, disk, edge / edge.sum(), mode="same")
    blurred = np.apply_along_axis(np.convolve, 1, blurred, edge / edge.sum(), mode="same")
    return torch.from_numpy(blurred / blurred.sum()).float()


@corruption(
    "blur",
    cifar=((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    imagenet=((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
)
def glass_blur(x: Tensor, constant: tuple[float, int, int], draw: Draw) -> Tensor:
    """Blur, swap every pixel with one at most ``delta`` away, blur.

    The published script swaps one pixel after the other, from the last to the first, and its swap of NumPy views
    in effect copies. Here pixels 2 * delta apart, whose partners cannot meet, are swapped at once, (2 * delta)^2
    groups one after the other, and a swap is a swap: the pixels of an image stay the same.
    """
    sigma, delta, rounds = constant
    x = (gaussian(x, sigma) * 255).round() / 255
    height, width = x.shape[2:]
    shift = draw.whole(-delta, delta, rounds, 2, height, width)  # [B, R, 2, H, W]
    place = torch.arange(height * width, device=x.device).repeat(len(x), 1)  # [B, H W]: where a pixel comes from
    for turn in range(rounds):
        for first in range(4 * delta**2):
            rows = torch.arange(delta + 1 + first // (2 * delta), height - delta + 1, 2 * delta, device=x.device)
            columns = torch.arange(delta + 1 + first % (2 * delta), width - delta + 1, 2 * delta, device=x.device)
            down, right = (shift[:, turn, axis][:, rows[:, None], columns[None, :]] for axis in (0, 1))
            here = (rows[:, None] * width + columns[None, :]).flatten()
            there = here + (down * width + right).flatten(1)
            mine, theirs = place[:, here], place.gather(1, there)
            place.scatter_(1, there, mine)
            place[:, here] = theirs
    swapped = x.flatten(2).gather(2, place[:, None, :].expand(-1, x.shape[1], -1)).view_as(x)
    return gaussian(swapped, sigma)


@corruption(
    "blur",
    cifar=((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    imagenet=((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
)
def motion_blur(x: Tensor, constant: tuple[float, float], draw: Draw) -> Tensor:
    """Along an angle from -45 to 45 degrees."""
    angle = torch.deg2rad(90 * draw.uniform() - 45)
    return motion(x, *constant, angle)


@corruption(
    "blur",
    cifar=((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    imagenet=((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
)
def zoom_blur(x: Tensor, constant: tuple[float, float], draw: Draw) -> Tensor:
    """The mean of the image and its enlargements by 1, 1 + step, ... up to the limit."""
    factors = np.arange(1, *constant)
    return (x + sum(clipped_zoom(x, float(factor)) for factor in factors)) / (len(factors) + 1)
