"""KD, with Z-scores or without, alone or together with cross-entropy: closed forms for the CPU."""

import torch
from torch import Tensor

from kdzoo.kernels.cpu_rows import by_blocks, log_sum, row_dot, soften


def _kd(
    student: Tensor, teacher: Tensor, target: None, out: Tensor | None, scale: float, *, temperature: float,
    standardize: bool, weight: float = 1.0,
) -> Tensor:
    ours, theirs = soften(student, temperature, standardize), soften(teacher, temperature, standardize)
    # Of three ways to get p, q and the divergence this was the fastest: one exp more, five calls fewer.
    log_p, q = torch.log_softmax(ours.v, dim=1), torch.softmax(theirs.v, dim=1)
    rows = row_dot(q, theirs.v - log_p).sub_(log_sum(theirs.v, q)).mul_(weight * temperature**2)
    if out is not None:
        ours.back(torch.exp(log_p, out=out).sub_(q), weight * temperature**2 * scale)  # dKL/dv = p - q
    return rows.squeeze(1)


def _ce_kd(
    student: Tensor, teacher: Tensor, target: Tensor, out: Tensor | None, scale: float, *, ce_weight: float,
    kd_weight: float, temperature: float, standardize: bool,
) -> Tensor:
    rows = _kd(
        student, teacher, None, out, scale, temperature=temperature, standardize=standardize, weight=kd_weight
    )
    label = target[:, None]
    p = torch.softmax(student, dim=1)
    rows.add_((log_sum(student, p) - student.gather(1, label)).squeeze(1), alpha=ce_weight)
    if out is not None:
        out.add_(p, alpha=ce_weight * scale)
        out.scatter_add_(1, label, out.new_full((len(out), 1), -ce_weight * scale))
    return rows


kd, ce_kd = by_blocks(_kd), by_blocks(_ce_kd)
