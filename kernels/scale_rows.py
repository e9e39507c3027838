"""The backward: the saved gradient times grad_output, which stays on the device."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kdzoo.kernels import launch


@triton.jit
def scale_rows_kernel(
    grad,  # [B, C]
    out,  # [B, C]; grad itself with IN_PLACE
    factor,  # one number, or [B]
    factor_stride,  # 0 for one number
    units,  # C / ALIGN
    IN_PLACE: tl.constexpr,
    ALIGN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    by = tl.load(factor + row * factor_stride).to(tl.float32)
    if IN_PLACE:
        if by == 1.0:
            return
    classes = units * ALIGN
    for start in tl.range(0, classes, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        at = row * units * ALIGN + cols
        x = tl.load(grad + at, mask=cols < classes, other=0.0).to(tl.float32)
        tl.store(out + at, (x * by).to(out.dtype.element_ty), mask=cols < classes)


def scale_rows(grad: Tensor, grad_output: Tensor, in_place: bool = False) -> Tensor:
    """``grad`` [B, C] times ``grad_output``, a scalar or [B], without a look at its value on the host.

    Args:
        grad: contiguous, as the loss kernels return it.
        grad_output: on the same device.
        in_place: overwrite ``grad``, and leave memory alone where the factor is exactly 1. Only where nobody needs
            ``grad`` again: a second backward through a retained graph would find it scaled already.

    Returns:
        A new tensor, so that the saved one serves any number of backwards; ``grad`` itself with ``in_place``.
    """
    if grad.ndim != 2 or not grad.is_contiguous():
        raise ValueError(f"grad must be contiguous [B, C], got {list(grad.shape)} with strides {grad.stride()}")
    rows, classes = grad.shape
    if grad_output.shape not in ((), (rows,)):
        raise ValueError(f"grad_output must be a scalar or [{rows}], got {list(grad_output.shape)}")
    out = grad if in_place else torch.empty_like(grad)
    if rows:
        shape = launch.shape_for(classes)
        align = launch.common_alignment(classes)
        each = grad_output.stride(0) if grad_output.ndim else 0
        args = [grad, out, grad_output, each, classes // align]
        constants = {"IN_PLACE": in_place, "ALIGN": align, "BLOCK": shape.block}
        launch.run(scale_rows_kernel, rows, args, constants, shape.warps, grad.device)
    return out
