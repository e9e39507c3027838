"""From tensors to a launch: block sizes, alignment, outputs."""

from dataclasses import dataclass

import torch
from torch import Tensor

TYPES = (torch.float32, torch.float16, torch.bfloat16)
# A row of two inputs stays in registers up to here (512 threads, 16 elements of each input a thread); above, blocks of
# 256 threads with 8 are the largest of which no kernel spills. The table of kernels/README.md has the counts.
ONE_BLOCK = 8192
LOOP_BLOCK = 2048


@dataclass(frozen=True)
class Shape:
    """How a kernel walks a row: in one block or in several, with how many warps."""

    block: int
    one: bool
    warps: int


def shape_for(classes: int, one_block: int = ONE_BLOCK, loop_block: int = LOOP_BLOCK) -> Shape:
    """Rows up to ``one_block`` in one block, longer ones in blocks of ``loop_block``; about 8 elements a thread."""
    one = classes <= one_block
    block = max(32, 1 << (classes - 1).bit_length()) if one else loop_block
    return Shape(block, one, min(16, max(1, block // 256)))


NARROW_LOOP = Shape(block=1024, one=False, warps=8)  # for kernels that keep more: 4 elements a thread


def prepare(logits: Tensor, name: str) -> Tensor:
    """``logits`` itself, or a copy where neighbouring classes are not neighbours in memory."""
    if logits.ndim != 2 or logits.dtype not in TYPES:
        raise ValueError(f"{name} must be float32, float16 or bfloat16 [B, C], got {logits.dtype} {list(logits.shape)}")
    if logits.shape[1] < 2:
        raise ValueError(f"{name} must have at least 2 classes, got {list(logits.shape)}")
    return logits if logits.stride(1) == 1 else logits.contiguous()


def common_alignment(*counts: int) -> int:
    """The largest power of two up to 16 that divides all: what lets a row of 1000 be read 16 bytes at a time."""
    return next(unit for unit in (16, 8, 4, 2, 1) if all(count % unit == 0 for count in counts))


def run(kernel, rows: int, args: list, constants: dict, warps: int, device: torch.device) -> None:
    """Launch one program a row."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            kernel[(rows,)](*args, **constants, num_warps=warps)
    else:
        kernel[(rows,)](*args, **constants, num_warps=warps)


def fused(
    kernel,
    inputs: list[Tensor],
    target: Tensor | None,
    params: list[float],
    *,
    reduction_scale: float,
    need_grad: bool,
    extra: tuple = (),
    shape: Shape | None = None,
    **constants,
) -> tuple[Tensor, Tensor | None]:
    """Launch a loss kernel on the student's logits, or on the student's and the teacher's.

    The kernel's arguments are, in this order: each input and its stride; target; ``extra``; loss; grad; classes;
    reduction_scale; ``params``; then the constants GRAD, ALIGN, ONE, BLOCK and its own. Classes and strides come in
    units of ALIGN.
    Where there is no target or no gradient, ``loss`` stands in its place and is not touched through it.

    Returns:
        loss [B] float32 and the gradient [B, C] in the student's type, contiguous (None without ``need_grad``).
    """
    inputs = [prepare(x, name) for x, name in zip(inputs, ("student_logits", "teacher_logits"), strict=False)]
    student = inputs[0]
    rows, classes = student.shape
    for other in inputs[1:]:
        if other.shape != student.shape or other.device != student.device:
            raise ValueError(f"teacher_logits must match student_logits {list(student.shape)}, got {list(other.shape)}")
    if target is not None and (target.shape != (rows,) or target.dtype != torch.int64):
        raise ValueError(f"target must be int64 class indices [{rows}], got {target.dtype} {list(target.shape)}")
    loss = torch.empty(rows, dtype=torch.float32, device=student.device)
    grad = torch.empty(rows, classes, dtype=student.dtype, device=student.device) if need_grad else None
    if rows:
        shape = shape or shape_for(classes)
        align = common_alignment(classes, *(x.stride(0) for x in inputs))
        args = [arg for x in inputs for arg in (x, x.stride(0) // align)]
        args += [loss if target is None else target.contiguous(), *extra, loss, grad if need_grad else loss]
        args += [classes // align, float(reduction_scale), *map(float, params)]
        constants |= {"GRAD": need_grad, "ALIGN": align, "ONE": shape.one, "BLOCK": shape.block}
        run(kernel, rows, args, constants, shape.warps, student.device)
    return loss, grad
