"""BinaryKL and its normalised form: closed forms for the CPU.

Softplus is max(x, 0) + log(1 + exp(-|x|)); only the second term is taken from each side, so that what is left
between two large logits of one sign is not the difference of two large numbers.
"""

from math import log

import torch
from torch import Tensor

from kdzoo.kernels.cpu_rows import by_blocks


def _binary_kl(
    student: Tensor, teacher: Tensor, target: None, out: Tensor | None, scale: float, *, temperature: float
) -> Tensor:
    s, t = student * (1 / temperature), teacher * (1 / temperature)
    if out is not None:
        # d/ds = sigmoid(s) - sigmoid(t), times T^2 / T
        torch.sub(s.sigmoid(), t.sigmoid(), out=out).mul_(temperature * scale)
    apart = (s >= 0) != (t >= 0)
    s.abs_(), t.abs_()
    small = t.neg().exp_()
    far = small / (1 + small)  # sigmoid(-|t|)
    # sigmoid(t) (t - s) + softplus(s) - softplus(t): the weight of |s| is the teacher's doubt in the student's side
    weight = torch.where(apart, 1 - far, far)
    entries = weight.mul_(s).sub_(far.mul_(t)).add_(s.neg_().exp_().log1p_()).sub_(small.log1p_())
    return entries.sum(dim=1).mul_(temperature**2)


def _binary_kl_norm(
    student: Tensor, teacher: Tensor, target: None, out: Tensor | None, scale: float, *, temperature: float
) -> Tensor:
    half = (student - teacher).mul_(0.5 / temperature)
    if out is not None:
        torch.tanh(half, out=out).mul_(temperature / 2 * scale)
    # log cosh(x) = |x| + log(1 + exp(-2 |x|)) - log 2
    half.abs_()
    return half.add_((half * -2).exp_().log1p_()).sub_(log(2)).sum(dim=1).mul_(temperature**2)


binary_kl, binary_kl_norm = by_blocks(_binary_kl), by_blocks(_binary_kl_norm)
