"""PLD with terms for the first k places only: closed form for the CPU, the other classes one number."""

import torch
from torch import Tensor

from kdzoo.kernels.cpu_rows import by_blocks


def leading(teacher: Tensor, label: Tensor, k: int) -> Tensor:
    """[n, k] the classes of the first places, the label's (``label`` [n, 1]) the first; k <= C."""
    return teacher.float().scatter(1, label, torch.inf).topk(k, dim=1).indices


def _pld_topk(
    student: Tensor, teacher: Tensor, target: Tensor, out: Tensor | None, scale: float, *, k: int, temperature: float
) -> Tensor:
    first = leading(teacher, target[:, None], min(k, teacher.shape[1]))
    log_weight = torch.log_softmax(teacher * (1 / temperature), dim=1).gather(1, first)
    score = student.gather(1, first)
    others = student.scatter(1, first, -torch.inf)
    # log of the sum over a place and all behind it: from the others on, up to the first place
    behind = torch.cat([others.logsumexp(dim=1, keepdim=True), score.flip(1)], dim=1)
    total = behind.logcumsumexp(dim=1)[:, 1:].flip(1)  # [n, k]
    weight = log_weight.exp()
    if out is not None:
        # d/ds of a place is e^s times the sum of weight / total over it and those before, less its own weight.
        ahead = (log_weight - total).logcumsumexp(dim=1)
        torch.add(others, ahead[:, -1:], out=out).exp_()
        out.scatter_(1, first, (score + ahead).exp_().sub_(weight)).mul_(scale)
    return weight.mul_(total.sub_(score)).sum(dim=1)


pld_topk = by_blocks(_pld_topk)
