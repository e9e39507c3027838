"""Plackett-Luce distillation, with the sort in the kernel or with the teacher's order given."""

import triton
import triton.language as tl
from torch import Tensor

from kdzoo.kernels.launch import NARROW_LOOP, Shape, fused, shape_for
from kdzoo.kernels.rows import at_label, finite_base, load, row_of, softmax_stats

SORT_LIMIT = 4096
LONGEST_SORT = Shape(block=4096, one=True, warps=8)  # with 16 warps, as elsewhere, some registers would spill
LOOP = NARROW_LOOP
LAST = tl.constexpr(0x7FFFFFFF)  # the label's rank and, with later columns, what lies beyond the row


@triton.jit
def merge(top_a, sum_a, top_b, sum_b):
    """The max and the sum of exp(x - max) of two parts."""
    top = tl.maximum(top_a, top_b)
    base = finite_base(top)
    return top, sum_a * tl.exp(top_a - base) + sum_b * tl.exp(top_b - base)


@triton.jit
def sorted_row(t, cols, classes, label, t_label, dtype: tl.constexpr):
    """(class, teacher logit) from the last place to the label's, which is the first; then what lies beyond the row.

    Sorts integers that hold a rank, whose order is the floats' (-0 equal to 0), and below it the class, by which
    equal logits are ordered. Half precision has room for both in 32 bits, float32 takes 64.
    """
    t = tl.where(t == 0, 0.0, t)
    if dtype == tl.float32:
        bits = t.to(tl.int32, bitcast=True)
        rank = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
        rank = tl.where((cols == label) | (cols >= classes), LAST, rank)
        key = tl.sort((rank.to(tl.int64) << 32) | cols.to(tl.int64))
        rank, column = (key >> 32).to(tl.int32), (key & 0xFFFFFFFF).to(tl.int32)
        y = tl.where(rank < 0, rank ^ 0x7FFFFFFF, rank).to(tl.float32, bitcast=True)
    else:
        bits = t.to(dtype).to(tl.int16, bitcast=True).to(tl.int32)
        rank = tl.where(bits < 0, bits ^ 0x7FFF, bits)
        rank = tl.where((cols == label) | (cols >= classes), LAST >> 12, rank)
        key = tl.sort((rank << 12) | cols)
        rank, column = key >> 12, key & 0xFFF
        y = tl.where(rank < 0, rank ^ 0x7FFF, rank).to(tl.int16).to(dtype, bitcast=True).to(tl.float32)
    return column, tl.where(column == label, t_label, y)


@triton.jit
def class_at(order, places, classes, label, label_at):
    """The class at each place of the teacher's order, the label moved to the end."""
    found = tl.load(order + places + tl.where(places >= label_at, 1, 0), mask=places < classes - 1, other=0)
    found = tl.minimum(tl.maximum(found.to(tl.int64), 0), classes - 1)  # whatever was given, no foreign memory
    return tl.where(places == classes - 1, label, found)


@triton.jit
def pld_kernel(
    student,  # [B, C]
    student_stride,
    teacher,  # [B, C]
    teacher_stride,
    target,  # [B] int64
    order,  # [B, C], any integer: the classes by rising teacher logit; not read with SORT
    order_stride,
    loss,  # [B] float32
    grad,  # [B, C]
    units,  # C / ALIGN
    reduction_scale,
    temperature,
    ce_weight,
    SORT: tl.constexpr,
    BLOCKS: tl.constexpr,  # ceil(C / BLOCK), up to a power of two
    GRAD: tl.constexpr,
    ALIGN: tl.constexpr,
    ONE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    classes = units * ALIGN
    row = tl.program_id(0)
    s_row, t_row = row_of(student, student_stride, ALIGN), row_of(teacher, teacher_stride, ALIGN)
    g_row = row_of(grad, units, ALIGN)
    order_row = row_of(order, order_stride, 1)
    label = tl.load(target + row)
    known = (label >= 0) & (label < classes)
    label = tl.where(known, label, 0)
    total = tl.where(known, 0.0, float("nan"))
    reduction_scale += total
    t_label = at_label(t_row, label, classes)
    scale = 1.0 / temperature
    t = load(t_row, tl.arange(0, BLOCK), classes)
    t_top, t_sum = softmax_stats(t, t_row, classes, scale, -1, ONE, BLOCK)
    t_log = tl.log(t_sum)

    label_at = 0
    if not SORT:
        for start in tl.range(0, classes, BLOCK):
            cols = start + tl.arange(0, BLOCK)
            here = tl.load(order_row + cols, mask=cols < classes, other=0).to(tl.int64) == label
            label_at += tl.sum(tl.where(here & (cols < classes), cols, 0), 0)

    # From the last place to the first: the logsumexp of all places so far, carried from block to block.
    top = float("-inf")
    below = 0.0
    block_top = tl.full([BLOCKS], float("-inf"), tl.float32)  # what each block began with
    block_sum = tl.zeros([BLOCKS], tl.float32)
    count = tl.cdiv(classes, BLOCK)
    for block in tl.range(0, count):
        places = block * BLOCK + tl.arange(0, BLOCK)
        inside = places < classes
        if SORT:
            column, y = sorted_row(t, places, classes, label, t_label, teacher.dtype.element_ty)
        else:
            column = class_at(order_row, places, classes, label, label_at)
            y = tl.load(t_row + column, mask=inside, other=float("-inf")).to(tl.float32)
        x = tl.load(s_row + column, mask=inside, other=float("-inf")).to(tl.float32)
        log_weight = tl.where(inside, scale * (y - t_top) - t_log, float("-inf"))
        weight = tl.exp(log_weight) + tl.where(places == classes - 1, ce_weight, 0.0)
        tops, sums = tl.associative_scan((x, tl.where(inside, 1.0, 0.0)), 0, merge)
        tops, sums = merge(tops, sums, top, below)
        so_far = tops + tl.log(sums)
        total += tl.sum(tl.where(inside, weight * (so_far - x), 0.0), 0)
        if not ONE:
            block_top = tl.where(tl.arange(0, BLOCKS) == block, top, block_top)
            block_sum = tl.where(tl.arange(0, BLOCKS) == block, below, block_sum)
            last = tl.arange(0, BLOCK) == BLOCK - 1
            top, below = tl.max(tops, 0), tl.sum(tl.where(last, sums, 0.0), 0)
        if GRAD and ONE:
            u = tl.where(inside, tl.log(weight) - so_far, float("-inf"))
            tops, sums = tl.associative_scan((u, tl.where(inside, 1.0, 0.0)), 0, merge, reverse=True)
            g = (tl.exp(x + tops) * sums - weight) * reduction_scale
            tl.store(g_row + column, g.to(grad.dtype.element_ty), mask=inside)
    tl.store(loss + row, total)

    # Back: of each place the sum of weight / exp(logsumexp) over itself and all places before it.
    if GRAD and not ONE:
        top = float("-inf")
        above = 0.0
        for step in tl.range(0, count):
            block = count - 1 - step
            places = block * BLOCK + tl.arange(0, BLOCK)
            inside = places < classes
            column = class_at(order_row, places, classes, label, label_at)
            y = tl.load(t_row + column, mask=inside, other=float("-inf")).to(tl.float32)
            x = tl.load(s_row + column, mask=inside, other=float("-inf")).to(tl.float32)
            weight = tl.exp(scale * (y - t_top) - t_log) + tl.where(places == classes - 1, ce_weight, 0.0)
            tops, sums = tl.associative_scan((x, tl.where(inside, 1.0, 0.0)), 0, merge)
            here = tl.arange(0, BLOCKS) == block
            began_top = tl.max(tl.where(here, block_top, float("-inf")), 0)
            began_sum = tl.sum(tl.where(here, block_sum, 0.0), 0)
            tops, sums = merge(tops, sums, began_top, began_sum)
            u = tl.where(inside, tl.log(weight) - tops - tl.log(sums), float("-inf"))
            tops, sums = tl.associative_scan((u, tl.where(inside, 1.0, 0.0)), 0, merge, reverse=True)
            tops, sums = merge(tops, sums, top, above)
            g = (tl.exp(x + tops) * sums - weight) * reduction_scale
            tl.store(g_row + column, g.to(grad.dtype.element_ty), mask=inside)
            first = tl.arange(0, BLOCK) == 0
            top, above = tl.max(tops, 0), tl.sum(tl.where(first, sums, 0.0), 0)


def pld(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    *,
    temperature: float = 1.0,
    ce_weight: float = 0.0,
    order: Tensor | None = None,
    reduction_scale: float = 1.0,
    need_grad: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """See :func:`kdzoo.losses.functional.pld`.

    Args:
        order: [B, C] of any integer type: ``teacher.argsort(dim=1, stable=True)``, which depends on neither the
            student nor the label and can be kept (uint8 up to 256 classes, int16 up to 32768). Without it the kernel
            sorts rows of up to 4096 classes itself; longer ones are sorted by ``torch.sort`` first.
    """
    classes = student.shape[1]
    if order is None and classes > SORT_LIMIT:
        order = teacher.float().argsort(dim=1, stable=True)
    sort = order is None
    if not sort and (order.shape != student.shape or order.is_floating_point()):
        raise ValueError(f"order must be integers {list(student.shape)}, got {order.dtype} {list(order.shape)}")
    shape = LOOP
    if sort or classes <= LOOP.block:
        shape = LONGEST_SORT if classes > LONGEST_SORT.block // 2 else shape_for(classes)
    order = target if sort else order.contiguous()  # a placeholder with SORT
    options = dict(reduction_scale=reduction_scale, need_grad=need_grad, shape=shape, extra=(order, classes))
    blocks = triton.next_power_of_2(triton.cdiv(classes, shape.block))
    return fused(pld_kernel, [student, teacher], target, [temperature, ce_weight], SORT=sort, BLOCKS=blocks, **options)
