"""Snow, frost, fog and brightness."""

import torch
from torch import Tensor

from kdzoo.robust.corruptions.filters import clipped_zoom, motion, plasma
from kdzoo.robust.corruptions.table import Draw, corruption

LUMA = (0.299, 0.587, 0.114)
ICE = (0.82, 0.92, 1.0)  # bluish white


def tinted(colour: tuple[float, float, float], x: Tensor) -> Tensor:
    """[1, C, 1, 1]: the colour, or its mean for grey images."""
    values = colour if x.shape[1] == 3 else (sum(colour) / 3,)
    return x.new_tensor(values).view(1, -1, 1, 1)


@corruption(
    "weather",
    cifar=(
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    imagenet=(
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
)  # fmt: skip
def snow(x: Tensor, constant: tuple, draw: Draw) -> Tensor:
    """Flakes (noise above a threshold, enlarged), blurred along their fall, on an image that is whitened."""
    mean, sigma, zoom, threshold, radius, length, kept = constant
    layer = clipped_zoom(mean + sigma * draw.normal(1, *x.shape[2:]), zoom)
    layer = torch.where(layer < threshold, 0.0, layer).clamp(0, 1)
    layer = motion(layer, radius, length, torch.deg2rad(90 * draw.uniform() - 135))
    grey = (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True) if x.shape[1] == 3 else x
    white = kept * x + (1 - kept) * torch.maximum(x, 1.5 * grey + 0.5)
    return white + layer + layer.flip((2, 3))


@corruption(
    "weather",
    cifar=((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    imagenet=((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
)
def frost(x: Tensor, constant: tuple[float, float], draw: Draw) -> Tensor:
    """Ice over the image. The published script cuts it from photographs; here it is generated: see :func:`ice`."""
    return constant[0] * x + constant[1] * ice(x, draw)


def ice(x: Tensor, draw: Draw) -> Tensor:
    """[B, C, H, W] in [0, 1], no photograph: needles from random seeds in six directions, on a fractal film."""
    height, width = x.shape[2:]
    length = max(height, width) / 8
    # One seed in 70 pixels at 32, fewer at 224: a needle grows with the image.
    rarest = torch.special.ndtri(torch.tensor(1 - 1 / (70 * (max(height, width) / 32) ** 1.2))).item()
    seeds = draw.normal(6, height, width) > rarest
    # The blur repeats the border: a seed on it would become a band.
    for edge in (0, -1):
        seeds[:, :, edge], seeds[..., edge] = False, False
    start = torch.pi * draw.uniform()
    needles = torch.zeros_like(x[:, :1])
    for turn in range(6):
        # A needle is thin: one direction at a time, and the brightest wins.
        line = motion(seeds[:, turn : turn + 1].float(), length, length, start + torch.pi / 3 * turn)
        needles = torch.maximum(needles, line)
    needles = (needles / needles.amax((1, 2, 3), keepdim=True).clamp(min=1e-6)) ** 0.6
    film = plasma(draw, height, width, 2.0)
    return tinted(ICE, x) * (0.1 + 0.5 * film + 0.8 * needles * (0.3 + 0.7 * film)).clamp(0, 1)


@corruption(
    "weather",
    cifar=((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    imagenet=((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
)
def fog(x: Tensor, constant: tuple[float, float], draw: Draw) -> Tensor:
    """A fractal added, then everything darkened to the image's range."""
    amount, decay = constant
    most = x.amax((1, 2, 3), keepdim=True)
    return (x + amount * plasma(draw, *x.shape[2:], decay)) * most / (most + amount)


@corruption("weather", cifar=(0.05, 0.1, 0.15, 0.2, 0.3), imagenet=(0.1, 0.2, 0.3, 0.4, 0.5))
def brightness(x: Tensor, amount: float, draw: Draw) -> Tensor:
    """Added to the value of hue, saturation and value; hue and saturation stay."""
    value = x.amax(1, keepdim=True)
    brighter = (value + amount).clamp(max=1)
    return torch.where(value > 0, x * brighter / value.clamp(min=1e-12), brighter)
