"""Sums by class and sums of squares of many feature rows, by C in one pass: what the naive-Bayes probe is made of."""

import ctypes

import numpy as np

from kdzoo.kernels.native import check, library


class _Sums(ctypes.Structure):
    """``Sums`` of native_src/class_sums.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("x", "codes", "shift", "sums", "squares")),
        *((name, ctypes.c_int64) for name in ("rows", "width", "stride", "classes", "parts")),
    ]


def class_sums(
    x: np.ndarray, codes: np.ndarray, classes: int, shift: np.ndarray, parts: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Of ``x`` less ``shift``, in float64: sums by class [K, D] and sums of squares [D].

    Args:
        x: [N, D] float32, memory-mapped if you like. Infinities and NaN go into the sums.
        codes: [N] classes, integers from 0 to K - 1.
        classes: K.
        shift: [D], about the middle of the features, so that squares lose no digits.
        parts: threads, each with sums of its own. The result does not depend on how they run, but on their number
            (by rounding).

    Returns:
        ``None`` where C can't do it: another type or layout of ``x``, no library.

    Example:
        >>> class_sums(np.ones((3, 2), np.float32), np.array([0, 1, 1]), 2, np.zeros(2), 1)
        (array([[1., 1.],
               [2., 2.]]), array([3., 3.]))
    """
    rows, width = x.shape
    laid_out = x.dtype == np.float32 and x.dtype.isnative and x.strides[1] == 4 and x.strides[0] % 4 == 0
    if not laid_out or x.strides[0] < 0 or library() is None:
        return None
    codes, shift = np.ascontiguousarray(codes, np.int64), np.ascontiguousarray(shift, np.float64)
    if codes.shape != (rows,) or shift.shape != (width,) or (rows and not 0 <= codes.min() <= codes.max() < classes):
        raise ValueError(f"codes must be [{rows}] from 0 to {classes - 1} and shift [{width}]; check what made them")
    sums, squares = np.zeros((parts, classes, width)), np.zeros((parts, width))
    job = _Sums(
        x.ctypes.data, codes.ctypes.data, shift.ctypes.data, sums.ctypes.data, squares.ctypes.data,
        rows, width, x.strides[0] // 4, classes, parts,
    )  # fmt: skip
    check(library().kdzoo_class_sums(ctypes.byref(job)))
    return sums.sum(axis=0), squares.sum(axis=0)
