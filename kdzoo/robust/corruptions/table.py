"""The table of corruptions: a decorated function with its constants is one, and nothing else has to be changed."""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdzoo.data.counter_noise import counter_normal
from kdzoo.errors import did_you_mean

SEVERITIES = (1, 2, 3, 4, 5)
SMALL = 64  # pixels: up to this side the constants of CIFAR-10-C are the default, above it those of ImageNet-C


@dataclass
class Draw:
    """The randomness of one corruption at one severity, a function of (seed, image index, corruption, severity).

    Args:
        seed: 0 to 2^32 - 1.
        index: [B] int64, which images these are.
        key: names corruption and severity.
        device: where the numbers are needed.
    """

    seed: int
    index: np.ndarray
    key: str
    device: torch.device
    _calls: int = field(default=0)

    def normal(self, *shape: int) -> Tensor:
        """[B, *shape] float32, standard normal; every call draws anew."""
        self._calls += 1
        position = np.full(len(self.index), zlib.crc32(f"{self.key}/{self._calls}".encode()))
        return counter_normal(self.seed, self.index, position, shape, self.device)

    def uniform(self, *shape: int) -> Tensor:
        """[B, *shape] float32, uniform in [0, 1)."""
        return torch.special.ndtr(self.normal(*shape)).clamp(max=1 - 2**-24)

    def whole(self, low: int, high: int, *shape: int) -> Tensor:
        """[B, *shape] int64, uniform from ``low`` to ``high`` - 1."""
        return (self.uniform(*shape) * (high - low)).long() + low


@dataclass(frozen=True)
class Corruption:
    """One corruption.

    Args:
        name: as the published folders call it.
        family: noise, blur, weather, digital or extra (the four that the published benchmark keeps for validation).
        function: ``(images [B, C, H, W] in [0, 1], constant, draw) -> images``, any range.
        cifar, imagenet: its constant at severity 1 to 5, for 32 and for 224 pixels.
    """

    name: str
    family: str
    function: Callable[[Tensor, Any, Draw], Tensor]
    cifar: Sequence[Any]
    imagenet: Sequence[Any]


CORRUPTIONS: dict[str, Corruption] = {}


def corruption(family: str, cifar: Sequence[Any], imagenet: Sequence[Any]) -> Callable:
    """Decorator: enter a function under its own name with five constants for each size of images."""

    def enter(function: Callable) -> Callable:
        if len(cifar) != 5 or len(imagenet) != 5:
            raise ValueError(f"{function.__name__} has {len(cifar)} and {len(imagenet)} constants; give 5 of each")
        CORRUPTIONS[function.__name__] = Corruption(function.__name__, family, function, cifar, imagenet)
        return function

    return enter


@torch.no_grad()
def corrupt(
    images: Tensor, name: str, severity: int, index: Sequence[int], seed: int = 0, constants: str | None = None
) -> Tensor:
    """Corrupt a batch (Hendrycks and Dietterich, ICLR 2019).

    What comes out depends on (seed, index, name, severity) alone, up to rounding, not on the batch. It follows the
    published definitions with other random numbers, and has no part in CIFAR-10-C: do not report it under that name.

    Args:
        images: [B, C, H, W] with 1 or 3 channels: uint8, or floating in [0, 1].
        name: one of ``CORRUPTIONS``.
        severity: 1 to 5.
        index: [B] numbers of the images, 0 to 2^32 - 1.
        seed: 0 to 2^32 - 1.
        constants: "cifar" (32 pixels) or "imagenet" (224); default: by the shorter side, cifar up to 64.

    Returns:
        [B, C, H, W] float32 in [0, 1].

    Raises:
        ValueError: an unknown name, a severity, shape, type or range that is not as above.

    Example:
        >>> corrupt(torch.rand(2, 3, 32, 32), "fog", 3, index=[0, 1]).shape
        torch.Size([2, 3, 32, 32])
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {name!r}{did_you_mean(name, CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity is {severity!r}; use 1, 2, 3, 4 or 5")
    severity = int(severity)  # 1.0 would draw other random numbers than 1
    if images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < 8:
        raise ValueError(f"images are {list(images.shape)}; expected [B, 1 or 3, H, W] of 8 pixels a side or more")
    if len(index) != len(images):
        raise ValueError(f"there are {len(images)} images and {len(index)} indices; give one to each")
    if constants not in (None, "cifar", "imagenet"):
        raise ValueError(f"constants is {constants!r}; use 'cifar', 'imagenet' or None")
    if not len(images):
        return images.float()
    x = images.float() / 255 if images.dtype == torch.uint8 else images.float().contiguous()
    low, high = float(x.min()), float(x.max())
    if not (math.isfinite(low) and math.isfinite(high) and -1e-6 <= low and high <= 1 + 1e-6):
        raise ValueError(f"images reach from {low:g} to {high:g}; expected pixels in [0, 1], before normalisation")
    kind = constants or ("cifar" if min(x.shape[2:]) <= SMALL else "imagenet")
    found = CORRUPTIONS[name]
    draw = Draw(seed, np.asarray(index, dtype=np.int64), f"{name}/{severity}", x.device)
    return found.function(x.clamp(0, 1), getattr(found, kind)[severity - 1], draw).clamp(0, 1)
