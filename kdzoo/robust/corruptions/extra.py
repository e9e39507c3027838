"""The four corruptions kept for validation: speckle noise, Gaussian blur, spatter, saturation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.robust.corruptions.filters import box3, gaussian
from kdzoo.robust.corruptions.table import Draw, corruption
from kdzoo.robust.corruptions.weather import tinted

WATER, MUD = (175 / 255, 238 / 255, 238 / 255), (63 / 255, 42 / 255, 20 / 255)


@corruption("extra", cifar=(0.06, 0.1, 0.12, 0.16, 0.2), imagenet=(0.15, 0.2, 0.35, 0.45, 0.6))
def speckle_noise(x: Tensor, sigma: float, draw: Draw) -> Tensor:
    return x + x * sigma * draw.normal(*x.shape[1:])


@corruption("extra", cifar=(0.4, 0.6, 0.7, 0.8, 1), imagenet=(1, 2, 3, 4, 6))
def gaussian_blur(x: Tensor, sigma: float, draw: Draw) -> Tensor:
    return gaussian(x, sigma)


@corruption(
    "extra",
    cifar=(
        (0.62, 0.1, 0.7, 0.7, 0.5, 0), (0.65, 0.1, 0.8, 0.7, 0.5, 0), (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1), (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    imagenet=(
        (0.65, 0.3, 4, 0.69, 0.6, 0), (0.65, 0.3, 3, 0.68, 0.6, 0), (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1), (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
)  # fmt: skip
def spatter(x: Tensor, constant: tuple, draw: Draw) -> Tensor:
    """Drops of water (severity 1 to 3) or mud on the lens: smooth noise above a threshold.

    The published script finds the drops' rims with OpenCV's Canny detector and measures distances with its
    transform; here a rim is where a drop meets its outside, and distances are counted in steps of a chess king.
    """
    mean, sigma, smooth, threshold, strength, mud = constant
    liquid = gaussian(mean + sigma * draw.normal(1, *x.shape[2:]), smooth)
    liquid = torch.where(liquid < threshold, 0.0, liquid)
    if mud:
        cover = gaussian((liquid > threshold).float(), strength)
        cover = torch.where(cover < 0.8, 0.0, cover)
        return x * (1 - cover) + tinted(MUD, x) * cover
    shine = liquid * _relief(liquid > 0)
    shine = strength * shine / shine.amax((2, 3), keepdim=True).clamp(min=1e-6)
    return x + shine * tinted(WATER, x)


def _relief(drop: Tensor) -> Tensor:
    """[B, 1, H, W]: light from one side on drops whose height is the distance to their rim."""
    drop = drop.float()
    rim = (F.max_pool2d(drop, 3, 1, 1) - drop) > 0
    near, distance = rim.float(), torch.full_like(drop, 20.0)
    for steps in range(20):
        distance = torch.where((near > 0) & (distance == 20), float(steps), distance)
        near = F.max_pool2d(near, 3, 1, 1)
    distance = box3(distance).round()
    # Equalised: each value becomes its rank among the image's.
    flat = distance.flatten(1)
    rank = torch.searchsorted(flat.sort(1).values.contiguous(), flat.contiguous(), right=True).float()
    lowest = rank.amin(1, keepdim=True)
    height = (255 * (rank - lowest) / (flat.shape[1] - lowest).clamp(min=1)).view_as(distance)
    slope = height.new_tensor([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])[None, None]
    return box3(F.conv2d(F.pad(height, (1, 1, 1, 1), mode="reflect"), slope).clamp(0, 255))


@corruption(
    "extra",
    cifar=((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    imagenet=((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
)
def saturate(x: Tensor, constant: tuple[float, float], draw: Draw) -> Tensor:
    """Saturation times and plus a constant, hue and value kept; what is grey turns red, its hue being 0.

    Images of one channel have no saturation and stay as they are.
    """
    if x.shape[1] == 1:
        return x
    value, low = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    saturation = (value - low) / value.clamp(min=1e-12)
    wanted = (saturation * constant[0] + constant[1]).clamp(0, 1)
    coloured = value - (value - x) * wanted / saturation.clamp(min=1e-12)
    red = value * torch.cat([torch.ones_like(wanted), 1 - wanted, 1 - wanted], dim=1)
    return torch.where(saturation > 0, coloured, red)
