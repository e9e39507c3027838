"""Losses of logits and a label, without a teacher: closed forms for the CPU."""

from math import cos, sin

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.kernels.cpu_rows import by_blocks
from kdzoo.kernels.ops import reference

SIN2_FLOOR = 1e-7  # of ArcFace, whose slope is unbounded at an angle of 0


def _cross_entropy(
    logits: Tensor, teacher: None, target: Tensor, out: Tensor | None, scale: float, *, label_smoothing: float
) -> Tensor:
    label = target[:, None]
    log_p = torch.log_softmax(logits, dim=1)
    rows = log_p.gather(1, label).squeeze(1).mul_(label_smoothing - 1)
    if label_smoothing:
        rows.sub_(log_p.mean(dim=1), alpha=label_smoothing)
    if out is not None:
        torch.exp(log_p, out=out)
        if label_smoothing:
            out.sub_(label_smoothing / out.shape[1])
        if scale != 1:
            out.mul_(scale)
        out.scatter_add_(1, label, out.new_full((len(out), 1), (label_smoothing - 1) * scale))
    return rows


def _stablemax(logits: Tensor, teacher: None, target: Tensor, out: Tensor | None, scale: float) -> Tensor:
    label = target[:, None]
    size = logits.abs().add_(1)  # s(x) is 1 + |x| from 0 on and its reciprocal below
    log_s = size.log().copysign_(logits)
    total = log_s.logsumexp(dim=1, keepdim=True)
    rows = (total - log_s.gather(1, label)).squeeze(1)
    if out is not None:
        p = log_s.sub_(total).exp_()
        # d log s / dx = 1 / (1 + |x|) on both sides
        p.scatter_add_(1, label, p.new_full((len(p), 1), -1.0))
        torch.div(p, size, out=out).mul_(scale)
    return rows


def _l2_svm(scores: Tensor, teacher: None, target: Tensor, out: Tensor | None, scale: float, *, C: float) -> Tensor:
    sign = torch.full_like(scores, -1.0).scatter_(1, target[:, None], 1.0)
    short = (1 - sign * scores).clamp_min_(0)
    if out is not None:
        torch.mul(short, sign, out=out).mul_(-2 * C * scale)
    return short.square_().sum(dim=1).mul_(C)


def _margin_softmax(
    cosines: Tensor, teacher: None, target: Tensor, out: Tensor | None, scale: float, *, margin: float, kind: str,
    s: float,
) -> Tensor:
    label = target[:, None]
    v = cosines * s
    of_label = cosines.gather(1, label)
    moved, slope = margined(of_label, margin, kind)
    v.scatter_(1, label, moved * s)
    log_p = torch.log_softmax(v, dim=1)
    log_p_y = log_p.gather(1, label)
    if out is not None:
        torch.exp(log_p, out=out).mul_(s * scale).scatter_(1, label, log_p_y.expm1() * slope * (s * scale))
    return log_p_y.neg().squeeze(1)


@reference("l2_svm")
def _l2_svm_by_definition(scores: Tensor, teacher: None, target: Tensor, C: float) -> Tensor:
    sign = 2.0 * F.one_hot(target, scores.shape[1]) - 1
    return C * (1 - sign * scores).clamp_min(0).square().sum(dim=1)


@reference("margin_softmax")
def _margin_softmax_by_definition(
    cosines: Tensor, teacher: None, target: Tensor, scale: float, margin: float, kind: str
) -> Tensor:
    label = target[:, None]
    c = cosines.gather(1, label)
    moved = c - margin
    if kind == "arcface":
        c = c.clamp(-1, 1)
        sine2 = 1 - c * c
        sine = sine2.clamp_min(SIN2_FLOOR).sqrt()
        moved = torch.where(c < -cos(margin), c - margin * sin(margin), c * cos(margin) - sine * sin(margin))
    return F.cross_entropy(scale * cosines.scatter(1, label, moved), target, reduction="none")


def margined(cosine: Tensor, margin: float, kind: str) -> tuple[Tensor, Tensor]:
    """The label's cosine with its margin, and the slope of that over the cosine."""
    if kind != "arcface":
        return cosine - (margin if kind == "cosface" else 0.0), torch.ones_like(cosine)
    c = cosine.clamp(-1, 1)
    sine2 = 1 - c * c
    sine = sine2.sqrt()
    beyond = c < -cos(margin)  # the angle and its margin pass pi
    turn = torch.where(sine2 < SIN2_FLOOR, 0.0, c * sin(margin) / torch.where(sine2 > 0, sine, 1.0))
    slope = torch.where(beyond, 1.0, cos(margin) + turn)
    moved = torch.where(beyond, c - margin * sin(margin), c * cos(margin) - sine * sin(margin))
    return moved, torch.where(cosine.abs() > 1, 0.0, slope)


cross_entropy, stablemax_cross_entropy, l2_svm = by_blocks(_cross_entropy), by_blocks(_stablemax), by_blocks(_l2_svm)
_margin = by_blocks(_margin_softmax)
KINDS = ("none", "cosface", "arcface")


def margin_softmax(
    cosines: Tensor, teacher: None, target: Tensor, *, scale: float, margin: float, kind: str, **options
) -> tuple[Tensor, Tensor | None]:
    """Cross-entropy of ``scale`` times the cosines [B, C], the label's less a margin."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    return _margin(cosines, teacher, target, s=scale, margin=margin, kind=kind, **options)
