"""Contrast, elastic transform, pixelation and JPEG."""

import io

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.robust.corruptions.filters import gaussian
from kdzoo.robust.corruptions.table import Draw, corruption

_WIDE = 244 / 224  # the published script writes 244 for the side of its 224-pixel images


@corruption("digital", cifar=(0.75, 0.5, 0.4, 0.3, 0.15), imagenet=(0.4, 0.3, 0.2, 0.1, 0.05))
def contrast(x: Tensor, share: float, draw: Draw) -> Tensor:
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) * share + mean


@corruption(
    "digital",
    cifar=((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    imagenet=(
        (2 * _WIDE, 0.7 * _WIDE, 0.1 * _WIDE), (2 * _WIDE, 0.08 * _WIDE, 0.2 * _WIDE),
        (0.05 * _WIDE, 0.01 * _WIDE, 0.02 * _WIDE), (0.07 * _WIDE, 0.01 * _WIDE, 0.02 * _WIDE),
        (0.12 * _WIDE, 0.01 * _WIDE, 0.02 * _WIDE),
    ),
)  # fmt: skip
def elastic_transform(x: Tensor, constant: tuple[float, float, float], draw: Draw) -> Tensor:
    """A random affine map, then every pixel moved by smooth noise; constants are shares of the shorter side."""
    strength, sigma, jitter = (min(x.shape[2:]) * share for share in constant)
    x = _affine(x, jitter, draw)
    if not strength:
        return x
    moved = gaussian(2 * draw.uniform(2, *x.shape[2:]) - 1, sigma, "reflect", truncate=3) * strength
    rows, columns = (torch.arange(n, device=x.device, dtype=torch.float32) for n in x.shape[2:])
    return _sample(x, columns[None, None, :] + moved[:, 0], rows[None, :, None] + moved[:, 1], corners=False)


def _affine(x: Tensor, jitter: float, draw: Draw) -> Tensor:
    """The map that takes three points around the middle to places up to ``jitter`` away in x and y."""
    height, width = x.shape[2:]
    middle, reach = np.array([height // 2, width // 2]), min(height, width) // 3
    source = np.stack([middle + reach, middle + [reach, -reach], middle - reach])
    source = torch.from_numpy(source).double().to(x.device)
    target = source + jitter * (2 * draw.uniform(3, 2).double() - 1)
    back = torch.linalg.solve(F.pad(target, (0, 1), value=1.0), source.expand(len(x), 3, 2)).float()  # [B, 3, 2]
    rows, columns = (torch.arange(n, device=x.device, dtype=torch.float32) for n in (height, width))
    across, down = (
        back[:, 0, k, None, None] * columns[None, None, :]
        + back[:, 1, k, None, None] * rows[None, :, None]
        + back[:, 2, k, None, None]
        for k in (0, 1)
    )
    return _sample(x, across, down, corners=True)


def _sample(x: Tensor, across: Tensor, down: Tensor, corners: bool) -> Tensor:
    """Bilinear values at pixel positions [B, H, W]; mirrored at the border pixels' middles or (not corners) edges."""
    height, width = x.shape[2:]
    if corners:
        grid = torch.stack([2 * across / (width - 1) - 1, 2 * down / (height - 1) - 1], dim=3)
    else:
        grid = torch.stack([(2 * across + 1) / width - 1, (2 * down + 1) / height - 1], dim=3)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=corners)


@corruption("digital", cifar=(0.95, 0.9, 0.85, 0.75, 0.65), imagenet=(0.6, 0.5, 0.4, 0.3, 0.25))
def pixelate(x: Tensor, share: float, draw: Draw) -> Tensor:
    """Down and up again with a box filter."""
    out = x
    for wanted in ([int(n * share) for n in x.shape[2:]], x.shape[2:]):
        rows, columns = (_box_matrix(n, m).to(x.device) for n, m in zip(out.shape[2:], wanted, strict=True))
        out = rows @ out @ columns.T
    return out


def _box_matrix(size: int, wanted: int) -> Tensor:
    """[wanted, size]: the pixels whose middle lies in the window of each new one, with equal weights."""
    scale = size / wanted
    middle = (np.arange(wanted) + 0.5)[:, None] * scale
    distance = (np.arange(size) + 0.5)[None, :] - middle
    half = max(scale, 1) / 2
    inside = ((distance > -half) & (distance <= half)).astype(np.float64)
    return torch.from_numpy(inside / inside.sum(1, keepdims=True)).float()


@corruption("digital", cifar=(80, 65, 58, 50, 40), imagenet=(25, 18, 15, 10, 7))
def jpeg_compression(x: Tensor, quality: int, draw: Draw) -> Tensor:
    """Written and read by Pillow on the CPU, picture by picture."""
    from PIL import Image

    pixels = (x * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    read = np.empty_like(pixels)
    for number, picture in enumerate(pixels):
        buffer = io.BytesIO()
        Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(buffer, "JPEG", quality=quality)
        read[number] = np.asarray(Image.open(buffer)).reshape(picture.shape)
    return (torch.from_numpy(read).permute(0, 3, 1, 2).float() / 255).to(x.device)
