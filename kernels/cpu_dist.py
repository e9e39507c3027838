"""DIST's inter-class part: closed form for the CPU."""

import torch
from torch import Tensor

from kdzoo.kernels.cpu_rows import by_blocks, row_dot

SPREAD_FLOOR, EPS = 1e-4, 1e-8  # as in kdzoo.losses.functional.dist


def _dist_inter(
    student: Tensor, teacher: Tensor, target: None, out: Tensor | None, scale: float, *, temperature: float
) -> Tensor:
    p, q = (torch.softmax(x * (1 / temperature), dim=1) for x in (student, teacher))
    length = torch.linalg.vector_norm(p, dim=1, keepdim=True)
    a, b = p - p.mean(dim=1, keepdim=True), q.sub_(q.mean(dim=1, keepdim=True))
    a_norm, b_norm = (torch.linalg.vector_norm(x, dim=1, keepdim=True) for x in (a, b))
    over = (a_norm * b_norm).add_(EPS).reciprocal_()
    rho = row_dot(a, b) * over
    if out is not None:
        # d rho/da = b over - a (a . b) over^2 |b| / |a|, then through the softmax: p (g - p . g), whose mean drops out
        flat = a_norm <= SPREAD_FLOOR * length
        pull = rho * over * b_norm / torch.where(flat, 1.0, a_norm)
        g = b.mul_(over).addcmul_(a, pull, value=-1)
        g.sub_(row_dot(g, p))
        torch.mul(p, g, out=out).mul_(torch.where(flat, 0.0, -temperature * scale))
    return (1 - rho).mul_(temperature**2).squeeze(1)


dist_inter = by_blocks(_dist_inter)
