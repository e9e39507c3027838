"""Cross-entropy of cosines: normalised softmax, CosFace, ArcFace."""

from math import cos, inf, sin

import triton
import triton.language as tl
from torch import Tensor

from kdzoo.kernels.launch import fused
from kdzoo.kernels.rows import again, at_label, lead, load, row_of, sigmoid, softmax_stats, softplus

SIN2_FLOOR = tl.constexpr(1e-7)  # as in kdzoo.heads.arcface
KINDS = ("none", "cosface", "arcface")


@triton.jit
def margin_softmax_kernel(
    cosines,  # [B, C]
    cosines_stride,
    target,  # [B] int64
    loss,  # [B] float32
    grad,  # [B, C]
    units,  # C / ALIGN
    reduction_scale,
    scale,
    shift,  # CosFace: m
    cos_m,  # ArcFace
    sin_m,
    margin,
    ARC: tl.constexpr,
    GRAD: tl.constexpr,
    ALIGN: tl.constexpr,
    ONE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    classes = units * ALIGN
    row = tl.program_id(0)
    s_row = row_of(cosines, cosines_stride, ALIGN)
    s = load(s_row, tl.arange(0, BLOCK), classes)
    label = tl.load(target + row)
    top, total = softmax_stats(s, s_row, classes, scale, label, ONE, BLOCK)

    of_label = at_label(s_row, label, classes)
    slope = 1.0  # d (label's cosine with its margin) / d cosine
    with_margin = of_label - shift
    if ARC:
        clipped = tl.where(of_label > 1.0, 1.0, tl.where(of_label < -1.0, -1.0, of_label))
        sine2 = 1.0 - clipped * clipped
        sine = tl.sqrt(sine2)
        beyond = clipped < -cos_m  # theta > pi - m
        with_margin = tl.where(beyond, clipped - margin * sin_m, clipped * cos_m - sine * sin_m)
        turn = tl.where(sine2 < SIN2_FLOOR, 0.0, clipped * sin_m / tl.where(sine2 > 0, sine, 1.0))
        slope = tl.where(beyond, 1.0, cos_m + turn)
        slope = tl.where(tl.abs(of_label) > 1.0, 0.0, slope)
    odds = lead(with_margin, top, total, scale)
    tl.store(loss + row, softplus(-odds))
    if GRAD:
        missing = sigmoid(-odds)  # 1 - p_y
        share = missing / total
        for start in tl.range(0, classes, BLOCK):
            cols = start + tl.arange(0, BLOCK)
            x = again(s, s_row, cols, classes, ONE)
            others = tl.exp(scale * (x - top)) * share
            g = tl.where(cols == label, -missing * slope, others) * (scale * reduction_scale)
            tl.store(row_of(grad, units, ALIGN) + cols, g.to(grad.dtype.element_ty), mask=cols < classes)


def margin_softmax(
    cosines: Tensor,
    teacher: None,
    target: Tensor,
    *,
    scale: float = 64.0,
    margin: float = 0.0,
    kind: str = "none",
    reduction_scale: float = 1.0,
    need_grad: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Cross-entropy of ``scale`` times the cosines [B, C], the label's less a margin.

    Args:
        cosines: [B, C] in [-1, 1].
        target: class indices [B].
        scale: s, for the normalised softmax 1 / T.
        margin: m; for ``"arcface"`` in radians.
        kind: ``"none"`` (normalised softmax), ``"cosface"`` (cosine - m) or ``"arcface"`` (cosine of the angle + m).

    Source: Zhai and Wu, 2019; Wang et al., CVPR 2018; Deng et al., CVPR 2019: see ``kdzoo.heads``.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "none" and margin:
        raise ValueError(f"kind 'none' takes no margin, got {margin}; choose 'cosface' or 'arcface'")
    if not 0 <= margin < inf:
        raise ValueError(f"margin must be 0 or more and finite, got {margin}")
    params = [scale, margin if kind == "cosface" else 0.0, cos(margin), sin(margin), margin]
    options = dict(reduction_scale=reduction_scale, need_grad=need_grad, ARC=kind == "arcface")
    return fused(margin_softmax_kernel, [cosines], target, params, **options)
