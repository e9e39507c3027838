"""Random operations on each image, made in groups on the device."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.data.pixels import pick, upload
from kdzoo.errors import UserError
from kdzoo.registry import AUGMENTS

_BINS = 30  # magnitudes run from 0 to 30, as in torchvision
_MOVES = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
_BLENDS = ("Brightness", "Color", "Contrast", "Sharpness")
_SIGNED = _MOVES + _BLENDS
OPERATIONS = ("Identity", *_SIGNED, "Posterize", "Solarize", "AutoContrast", "Equalize")


@AUGMENTS.register()
@dataclass(frozen=True)
class RandAugment:
    """RandAugment (Cubuk et al., NeurIPS 2020) with torchvision's operations and strengths.

    Every image has its own ``n`` operations, drawn with replacement from 14, and their signs.
    Images with the same operation and sign are changed together; all that move pixels are
    one resampling (nearest pixel, black outside). Needs uint8 images of 1 or 3 channels.

    Args:
        n: operations an image (default 2).
        magnitude: strength from 0 to 30 (default 10, with n = 2 the strong view of MLKD,
            Jin et al., CVPR 2023).
    """

    n: int = 2
    magnitude: int = 10
    views = None

    def __post_init__(self):
        if self.n < 0 or not 0 <= self.magnitude <= _BINS:
            raise ValueError(f"n is {self.n} and magnitude {self.magnitude}; use n >= 0 and 0 <= magnitude <= {_BINS}")

    def draw(self, rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
        """[count, n] int64: 2 * (place in OPERATIONS) + (1 for a negative sign)."""
        operation = rng.integers(len(OPERATIONS), size=(count, self.n))
        negative = rng.integers(2, size=(count, self.n))
        signed = np.array([name in _SIGNED for name in OPERATIONS])
        return 2 * operation + negative * signed[operation]

    def apply(self, images: Tensor, draws: np.ndarray) -> Tensor:
        if images.dtype != torch.uint8:
            raise UserError("RandAugment works on pixels before they are mixed; list it before Mixup and CutMix")
        if images.shape[1] not in (1, 3):
            raise UserError(f"RandAugment works on images of 1 or 3 channels, these have {images.shape[1]}")
        for codes in draws.T:
            images = self._round(images, codes)
        return images

    def _round(self, images: Tensor, codes: np.ndarray) -> Tensor:
        """One operation for each image; ``codes`` is [B]."""
        names = np.array(OPERATIONS)[codes // 2]
        groups, parts = [], []
        moved = np.flatnonzero(np.isin(names, _MOVES))
        if len(moved):
            parts.append(self._move(pick(images, upload(moved, images.device)), codes[moved]))
            groups.append(moved)
        for code in np.unique(codes[~np.isin(names, _MOVES)]):
            rows = np.flatnonzero(codes == code)
            strength = self.magnitude / _BINS * (-1 if code % 2 else 1)
            parts.append(_recolour(pick(images, upload(rows, images.device)), OPERATIONS[code // 2], strength))
            groups.append(rows)
        back = np.argsort(np.concatenate(groups))
        return pick(torch.cat(parts), upload(back, images.device))

    def _move(self, images: Tensor, codes: np.ndarray) -> Tensor:
        """Shear, shift or turn each image by its own code, in one resampling.

        torchvision's own ``affine`` takes one matrix for a whole group and makes the host wait
        for the device to take it over; these matrices are uploaded together.
        """
        height, width = images.shape[-2:]
        theta = np.stack([self._matrix(code, height, width) for code in codes])
        grid = F.affine_grid(upload(theta, images.device), list(images.shape), align_corners=False)
        return F.grid_sample(images.float(), grid, mode="nearest", align_corners=False).to(torch.uint8)

    def _matrix(self, code: int, height: int, width: int) -> np.ndarray:
        """[2, 3] float32: where each pixel comes from, in coordinates from -1 to 1."""
        sign, part = (-1 if code % 2 else 1), self.magnitude / _BINS
        shear, angle = 0.3 * part * sign, np.radians(30 * part * sign)
        across, down = (int(150 / 331 * part * side) * sign for side in (width, height))  # whole pixels
        tall = height / width
        # The shears hold the top left corner in place, as in torchvision; the turn the centre.
        matrix = {
            "ShearX": [[1, shear * tall, shear * tall], [0, 1, 0]],
            "ShearY": [[1, 0, 0], [shear / tall, 1, shear / tall]],
            "TranslateX": [[1, 0, -2 * across / width], [0, 1, 0]],
            "TranslateY": [[1, 0, 0], [0, 1, -2 * down / height]],
            "Rotate": [[np.cos(angle), -np.sin(angle) * tall, 0], [np.sin(angle) / tall, np.cos(angle), 0]],
        }[OPERATIONS[code // 2]]
        return np.array(matrix, dtype=np.float32)


def _recolour(images: Tensor, operation: str, strength: float) -> Tensor:
    """An operation that leaves pixels where they are; ``strength`` from -1 to 1."""
    from torchvision.transforms.v2 import functional as TF

    factor = 1 + 0.9 * strength
    if operation == "Brightness":
        return TF.adjust_brightness(images, factor)
    if operation == "Color":
        return TF.adjust_saturation(images, factor)
    if operation == "Contrast":
        return TF.adjust_contrast(images, factor)
    if operation == "Sharpness":
        return _sharpen(images, factor)
    if operation == "Posterize":
        return TF.posterize(images, round(8 - 4 * strength))
    if operation == "Solarize":
        return TF.solarize(images, 255 * (1 - strength))
    if operation == "AutoContrast":
        return TF.autocontrast(images)
    if operation == "Equalize":
        return TF.equalize(images)
    return images


def _sharpen(images: Tensor, factor: float) -> Tensor:
    """torchvision's ``adjust_sharpness``, which makes the host wait for the device.

    Away from the border, the image moves from its blur (3 x 3, centre 5/13, others 1/13)
    by ``factor``; 1 changes nothing.
    """
    height, width = images.shape[-2:]
    if height < 3 or width < 3:
        return images
    sharp = images.float()
    inner = sharp[..., 1:-1, 1:-1]
    blur = ((F.avg_pool2d(sharp, 3, stride=1) * 9 + inner * 4) / 13).round()
    result = sharp.clone()
    result[..., 1:-1, 1:-1] = blur + (inner - blur) * factor
    return result.clamp_(0, 255).to(torch.uint8)
