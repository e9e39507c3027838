"""What several corruptions are made of: Gaussian and motion blur, zooming, fractals."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.robust.corruptions.table import Draw


def gaussian(x: Tensor, sigma: float, border: str = "nearest", truncate: float = 4.0) -> Tensor:
    """Gaussian blur of [B, C, H, W], one matrix product an axis, so that the kernel may be wider than the image.

    Args:
        sigma: in pixels.
        border: "nearest" (the edge goes on) or "reflect" (mirrored, the edge twice), as in scipy.ndimage.
        truncate: where the kernel ends, in sigmas.
    """
    rows, columns = (_blur_matrix(n, sigma, border, truncate).to(x.device) for n in x.shape[2:])
    return rows @ x @ columns.T


def _blur_matrix(size: int, sigma: float, border: str, truncate: float) -> Tensor:
    """[size, size]: row i holds the weights of the pixels that pixel i becomes."""
    radius = int(truncate * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    place = np.arange(size)[:, None] + offsets[None, :]
    if border == "nearest":
        place = place.clip(0, size - 1)
    else:
        place = place % (2 * size)
        place = np.minimum(place, 2 * size - 1 - place)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], place), kernel / kernel.sum())
    return torch.from_numpy(matrix).float()


def motion(x: Tensor, radius: float, sigma: float, angle: Tensor) -> Tensor:
    """A half Gaussian along a line, one angle an image, with steps of whole pixels; as ImageMagick's motion blur.

    Args:
        x: [B, C, H, W].
        radius: the kernel has 2 * radius + 1 steps.
        sigma: in pixels.
        angle: [B] radians.
    """
    width = int(2 * radius + 1)
    weights = torch.exp(-0.5 * (torch.arange(width, dtype=torch.float64) / sigma) ** 2)
    weights = (weights / weights.sum()).tolist()
    rows, columns = (torch.arange(n, device=x.device) for n in x.shape[2:])
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    channels_last = x.permute(0, 2, 3, 1)
    out = torch.zeros_like(channels_last)
    for step, weight in enumerate(weights):
        down, right = (torch.ceil(step * part - 0.5).long() for part in (angle.sin(), angle.cos()))
        row = (rows[None, :] + down[:, None]).clamp(0, x.shape[2] - 1)[:, :, None]
        column = (columns[None, :] + right[:, None]).clamp(0, x.shape[3] - 1)[:, None, :]
        out += weight * channels_last[batch, row, column]
    return out.permute(0, 3, 1, 2)


def clipped_zoom(x: Tensor, factor: float) -> Tensor:
    """The middle of [B, C, H, W], enlarged to the same size."""
    height, width = x.shape[2:]
    sizes = [math.ceil(n / factor) for n in (height, width)]
    top, left = (height - sizes[0]) // 2, (width - sizes[1]) // 2
    middle = x[:, :, top : top + sizes[0], left : left + sizes[1]]
    # Rounding may leave a pixel less than the image has.
    target = [max(n, round(size * factor)) for n, size in zip((height, width), sizes, strict=True)]
    grown = F.interpolate(middle, size=target, mode="bilinear", align_corners=True)
    top, left = (target[0] - height) // 2, (target[1] - width) // 2
    return grown[:, :, top : top + height, left : left + width]


def plasma(draw: Draw, height: int, width: int, decay: float) -> Tensor:
    """Diamond-square fractals [B, 1, H, W] in [0, 1], all images at once.

    Args:
        decay: by how much the randomness falls from one scale to the next.
    """
    size = 1 << (max(height, width) - 1).bit_length()
    # Every point of the map is set once: its randomness is read off one map.
    wibble = 2 * draw.uniform(size, size) - 1
    out = torch.zeros_like(wibble)
    step, amount = size, 100.0
    while step >= 2:
        half = step // 2
        corners = out[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        out[:, half::step, half::step] = (pairs + pairs.roll(-1, 2)) / 4 + amount**2 * wibble[:, half::step, half::step]
        middles = out[:, half::step, half::step]
        across = middles + middles.roll(1, 1) + corners + corners.roll(-1, 2)
        out[:, ::step, half::step] = across / 4 + amount**2 * wibble[:, ::step, half::step]
        along = middles + middles.roll(1, 2) + corners + corners.roll(-1, 1)
        out[:, half::step, ::step] = along / 4 + amount**2 * wibble[:, half::step, ::step]
        step, amount = half, amount / decay
    out = out - out.amin((1, 2), keepdim=True)
    out = out / out.amax((1, 2), keepdim=True).clamp(min=1e-12)
    return out[:, None, :height, :width]


def box3(x: Tensor) -> Tensor:
    """The mean over 3 x 3 pixels."""
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
