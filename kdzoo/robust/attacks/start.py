"""Where an attack starts: points in the budget that depend on the seed and the image's number alone."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kdzoo.data.counter_noise import counter_normal
from kdzoo.robust.attacks.projections import change_norm, per_image, project_l1_box


def start_noise(images: Tensor, seed: int, draw: int, numbers: Sequence[int] | None = None) -> Tensor:
    """Standard normal noise [B, ...]; row i is a function of (seed, numbers[i], draw), not of the batch around it.

    Args:
        images: [B, ...], for shape, dtype and device.
        seed: 0 to 2^32 - 1.
        draw: number of the restart (and target class).
        numbers: of the images in their set; default 0..B-1.
    """
    streams = np.arange(len(images)) if numbers is None else np.asarray(numbers, dtype=np.int64)
    if len(streams) != len(images):
        raise ValueError(f"numbers is expected to have one number an image ({len(images)}) but got {len(streams)}")
    positions = np.full(len(images), draw, dtype=np.int64)
    return counter_normal(seed, streams, positions, images.shape[1:], images.device).to(images.dtype)


def apgd_start(images: Tensor, noise: Tensor, norm: str, eps: float) -> Tensor:
    """The published random start of APGD from standard normal noise: on the ball, then clipped to [0, 1].

    Linf: noise made uniform in [-1, 1] and scaled so that its largest pixel is eps. L2: scaled to eps. L1: projected.
    """
    if norm == "L1":
        return images + project_l1_box(images, noise, eps)
    noise = torch.erf(noise / 2**0.5) if norm == "Linf" else noise  # the normal's own distribution function
    return (images + eps * noise / (per_image(change_norm(noise, norm), noise) + 1e-12)).clamp(0, 1)
