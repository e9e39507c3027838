"""Gaussian noise that is a function of its key: no state, so no order, batch size or process count matters.

Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and the Box-Muller transform:
on the CPU in C where a compiler is, on CUDA in one Triton kernel, else in torch operations. They differ by rounding.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kdzoo.data.pixels import upload
from kdzoo.kernels.normal import normal_rows

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
AT_ONCE = 1 << 20  # numbers drawn by torch operations, each of which takes about 200 bytes meanwhile


def counter_normal(
    seed: int, streams: np.ndarray, positions: np.ndarray, shape: Sequence[int], device: torch.device | str = "cpu"
) -> Tensor:
    """Standard normal rows; row i depends on (seed, streams[i], positions[i], shape) alone, up to rounding.

    Args:
        seed: 0 to 2^32 - 1.
        streams: [N] integers from 0 to 2^32 - 1, say image indices.
        positions: [N] integers from 0 to 2^32 - 1, say sample indices within an image.
        shape: of one row.
        device: where the rows are made.

    Returns:
        [N, *shape] float32.

    Raises:
        ValueError: a key is out of range, or streams and positions differ in length.

    Example:
        >>> counter_normal(0, np.array([5, 5]), np.array([0, 1]), (3, 32, 32)).shape
        torch.Size([2, 3, 32, 32])
    """
    streams, positions = np.asarray(streams, dtype=np.int64), np.asarray(positions, dtype=np.int64)
    if streams.shape != positions.shape or streams.ndim != 1:
        raise ValueError(f"streams and positions must be [N] both, got {streams.shape} and {positions.shape}")
    for name, values in (("seed", np.array([seed])), ("streams", streams), ("positions", positions)):
        if values.size and not (0 <= values.min() and values.max() <= MASK):
            raise ValueError(f"{name} must lie in 0..2^32 - 1, got {values.min()} to {values.max()}")
    device = torch.device(device)
    if device.type == "cpu":
        return _on_cpu(seed, streams, positions, shape)
    from kdzoo.kernels import dispatch  # it defines the losses' operators, which take a while

    size, streams, positions = math.prod(shape), upload(streams, device), upload(positions, device)
    rows = dispatch.normal_rows(seed, streams, positions, size)
    return philox_normal(seed, streams, positions, shape, device) if rows is None else rows.view(len(rows), *shape)


def _on_cpu(seed: int, streams: np.ndarray, positions: np.ndarray, shape: Sequence[int]) -> Tensor:
    size = math.prod(shape)
    rows = normal_rows(seed, streams, positions, size)
    if rows is None:
        some = max(1, AT_ONCE // max(1, size))
        starts = range(0, max(1, len(streams)), some)
        keys = [[torch.from_numpy(part[start : start + some]) for part in (streams, positions)] for start in starts]
        rows = torch.cat([philox_normal(seed, *pair, (size,), torch.device("cpu")) for pair in keys])
    return rows.view(len(rows), *shape)


def philox_normal(seed: int, streams: Tensor, positions: Tensor, shape: Sequence[int], device: torch.device) -> Tensor:
    """The same contract as :func:`counter_normal` in torch operations, on any device; [N, *shape] float32."""
    size = math.prod(shape)
    block = torch.arange((size + 3) // 4, device=device)[None, :]  # [1, ceil(size / 4)]
    stream, position = (upload(keys, device)[:, None] for keys in (streams, positions))
    zero = torch.zeros_like(block)
    words = philox_4x32((block, position, stream, zero), (seed, 0))
    # Half a unit keeps the logarithm's argument off zero, in float64 since float32 would round to 1.
    uniform = [(word.double() + 0.5) * 2.0**-32 for word in words]
    normal = []
    for first, second in (uniform[:2], uniform[2:]):
        length, angle = torch.sqrt(-2 * torch.log(first)), (2 * math.pi) * second
        normal += [length * torch.cos(angle), length * torch.sin(angle)]
    rows = torch.stack([part.float() for part in normal], dim=2).flatten(1)  # [N, 4 ceil(size / 4)]
    return rows[:, :size].reshape(len(rows), *shape)


def philox_4x32(counter: Sequence[Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Philox-4x32-10: four words of counter, two of key, in int64 tensors that hold 0..2^32 - 1."""
    a, b, c, d = counter
    for turn in range(ROUNDS):
        keys = [(k + turn * step) & MASK for k, step in zip(key, WEYL, strict=True)]
        low_a, high_a = _multiply(a, MULTIPLIERS[0])
        low_c, high_c = _multiply(c, MULTIPLIERS[1])
        a, b, c, d = high_c ^ b ^ keys[0], low_c, high_a ^ d ^ keys[1], low_a
    return torch.broadcast_tensors(a, b, c, d)


def _multiply(words: Tensor, multiplier: int) -> tuple[Tensor, Tensor]:
    """Low and high 32 bits of the 64-bit product; by halves, for int64 has no unsigned product."""
    low, high = words * (multiplier & 0xFFFF), words * (multiplier >> 16)  # below 2^48
    middle = high + (low >> 16)
    return ((middle & 0xFFFF) << 16) | (low & 0xFFFF), middle >> 16
