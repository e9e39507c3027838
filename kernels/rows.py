"""What the kernels share: reading a row of logits, its statistics, and the binary functions of two logits.

One program works on one row [C]. Where a row fits one block (``ONE``), it is read once and stays in registers: each
function is handed the block ``x`` and uses it. Where it does not, each function reads the row from ``ptr`` block by
block, from the second time on mostly from cache. All arithmetic is float32; columns beyond the row count as -inf.
"""

import triton
import triton.language as tl

# As in kdzoo.losses.functional.standardize: added to a row's deviation; and the deviation without a gradient.
STD_EPS = tl.constexpr(1e-7)
STD_FLOOR = tl.constexpr(1e-4)


@triton.jit
def row_of(ptr, stride, ALIGN: tl.constexpr):
    """The start of this program's row; ``stride`` in units of ALIGN elements. In 64 bits before it is multiplied."""
    return ptr + tl.program_id(0).to(tl.int64) * stride * ALIGN


@triton.jit
def load(ptr, cols, classes):
    """[BLOCK] float32."""
    return tl.load(ptr + cols, mask=cols < classes, other=float("-inf")).to(tl.float32)


@triton.jit
def again(x, ptr, cols, classes, ONE: tl.constexpr):
    """The block at ``cols``: held already, or read."""
    if ONE:
        block = x
    else:
        block = load(ptr, cols, classes)
    return block


@triton.jit
def at_label(ptr, label, classes):
    """The label's logit; NaN, not a foreign memory's content, where the label is no class."""
    inside = (label >= 0) & (label < classes)
    return tl.load(ptr + label, mask=inside, other=float("nan")).to(tl.float32)


@triton.jit
def softmax_stats(x, ptr, classes, scale, skip, ONE: tl.constexpr, BLOCK: tl.constexpr):
    """max x and sum exp(scale (x - max)) over the columns other than ``skip`` (-1: over all), online."""
    top = float("-inf")
    total = 0.0
    for start in tl.range(0, classes, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        block = tl.where(cols == skip, float("-inf"), again(x, ptr, cols, classes, ONE))
        high = tl.maximum(top, tl.max(block, 0))
        base = finite_base(high)
        total = total * tl.exp(scale * (top - base)) + tl.sum(tl.exp(scale * (block - base)), 0)
        top = high
    return top, total


@triton.jit
def softmax_stats_twice(x, ptr, classes, scale, skip, ONE: tl.constexpr, BLOCK: tl.constexpr):
    """max x and the sums of exp(x - max) and of exp(scale (x - max)): two temperatures in one read."""
    top = float("-inf")
    plain = 0.0
    total = 0.0
    for start in tl.range(0, classes, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        block = tl.where(cols == skip, float("-inf"), again(x, ptr, cols, classes, ONE))
        high = tl.maximum(top, tl.max(block, 0))
        base = finite_base(high)
        plain = plain * tl.exp(top - base) + tl.sum(tl.exp(block - base), 0)
        total = total * tl.exp(scale * (top - base)) + tl.sum(tl.exp(scale * (block - base)), 0)
        top = high
    return top, plain, total


@triton.jit
def finite_base(top):
    """What to subtract: nothing where all so far is -inf, or -inf - -inf would make the rest of the row NaN."""
    return tl.where(top == float("-inf"), 0.0, top)


@triton.jit
def moments(x, ptr, classes, ONE: tl.constexpr, BLOCK: tl.constexpr):
    """Mean and unbiased deviation: two passes over a block in registers, blocks merged as by Chan et al., 1979."""
    count = 0.0
    mean = 0.0
    squares = 0.0
    for start in tl.range(0, classes, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        inside = cols < classes
        block = again(x, ptr, cols, classes, ONE)
        new = tl.minimum(classes - start, BLOCK).to(tl.float32)
        centre = tl.sum(tl.where(inside, block, 0.0), 0) / new
        off = tl.where(inside, block - centre, 0.0)
        # The sum of the deviations is rounding; taking it out keeps a constant row's deviation at 0.
        shift = tl.sum(off, 0) / new
        off = tl.where(inside, off - shift, 0.0)
        centre += shift
        gap = centre - mean
        both = count + new
        squares += tl.sum(off * off, 0) + gap * gap * (count * new / both)
        mean += gap * (new / both)
        count = both
    return mean, tl.sqrt(squares / (count - 1))


@triton.jit
def log1p(x):
    """log(1 + x) for x >= 0, accurate where 1 + x rounds to 1 (Kahan's form) and infinite at infinity."""
    one = 1.0 + x
    rounding = tl.where(one == x, 1.0, x / tl.where(one == 1.0, 1.0, one - 1.0))
    return tl.where(one == 1.0, x, tl.log(one) * rounding)


@triton.jit
def softplus(x):
    """log(1 + e^x)."""
    return tl.maximum(x, 0.0) + log1p(tl.exp(-tl.abs(x)))


@triton.jit
def sigmoid(x):
    """1 / (1 + e^-x), with no exponential that overflows."""
    small = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, small) / (1.0 + small)


@triton.jit
def sigmoid_gap(a, b):
    """sigmoid(a) - sigmoid(b), from the sides where they are small: no cancellation next to 1."""
    return tl.where(a > 0, sigmoid(-b) - sigmoid(-a), sigmoid(a) - sigmoid(b))


@triton.jit
def lead(label_logit, top, total, scale):
    """log-odds of the label against the others: its logit less their logsumexp (whose max and sum are given)."""
    return scale * (label_logit - top) - tl.log(total)
