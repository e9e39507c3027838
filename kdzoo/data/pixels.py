"""Small steps that loaders and augmentations share: to the device, some rows, to float."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def upload(array: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """The array on the device; the host does not wait for the copy (pinned memory on CUDA)."""
    tensor = array if isinstance(array, Tensor) else torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda" and not tensor.is_cuda:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def pick(images: Tensor, rows: Tensor) -> Tensor:
    """``images[rows]`` of [B, C, H, W], whole images at a time where they are channels_last."""
    return images.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)


def to_float(images: Tensor) -> Tensor:
    """[B, C, H, W] uint8 (or float, kept) -> float32 in [0, 1], channels_last."""
    if images.dtype == torch.uint8:
        # By a number on the host CUDA does not divide, it multiplies by the inverse: half of the values differ then.
        whole = torch.full((), 255.0, device=images.device)
        return images.to(torch.float32, memory_format=torch.channels_last).div_(whole)
    return images.contiguous(memory_format=torch.channels_last)


def channel_statistics(pieces: Iterable[np.ndarray]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of uint8 arrays [..., C], for pixels in [0, 1].

    Counted exactly, in one histogram per channel; a constant channel's deviation is given as 1.

    Raises:
        ValueError: there is no piece.
    """
    counts = None
    for piece in pieces:
        flat = piece.reshape(-1, piece.shape[-1])
        found = np.stack([np.bincount(channel, minlength=256) for channel in flat.T])  # [C, 256]
        counts = found if counts is None else counts + found
    if counts is None:
        raise ValueError("there is no image to count")
    levels = np.arange(256) / 255
    mean = (counts * levels).sum(1) / counts.sum(1)
    std = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(1) / counts.sum(1))
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())
