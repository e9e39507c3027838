"""Keyed standard normal rows by C: the CPU's fast way to what ``kdzoo/data/counter_noise.py`` defines."""

import ctypes

import numpy as np
import torch
from torch import Tensor

from kdzoo.kernels.native import check, library

SHARE = 50_000  # numbers a thread should have to draw before it is worth waking


class _Normal(ctypes.Structure):
    """``Normal`` of native_src/normal.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("out", "streams", "positions")),
        *((name, ctypes.c_int64) for name in ("rows", "size", "seed", "threads")),
    ]


def normal_rows(seed: int, streams: np.ndarray, positions: np.ndarray, size: int) -> Tensor | None:
    """[N, size] float32, a row a (stream, position); ``None`` where there is no library.

    Args:
        seed: 0 to 2^32 - 1, checked.
        streams, positions: [N] int64 from 0 to 2^32 - 1, checked.
        size: numbers a row.
    """
    if library() is None:
        return None
    streams, positions = np.ascontiguousarray(streams), np.ascontiguousarray(positions)
    out = torch.empty(len(streams), size, dtype=torch.float32, device="cpu")  # whatever torch's defaults are
    threads = max(1, min(torch.get_num_threads(), out.numel() // SHARE))
    job = _Normal(
        out.data_ptr(), streams.ctypes.data, positions.ctypes.data, len(streams), size, seed, threads
    )  # fmt: skip
    check(library().kdzoo_normal(ctypes.byref(job)))
    return out
