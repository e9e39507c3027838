"""PLD: closed form for the CPU, two scans over the teacher's ranking."""

import torch
from torch import Tensor

from kdzoo.kernels.cpu_rows import by_blocks, row_dot
from kdzoo.kernels.native import OUTCOMES

# exp(-80), and its reciprocal times any number of classes, are normal float32.
WIDEST = {torch.float32: 80.0, torch.float64: 680.0}


def ranking(teacher: Tensor, label: Tensor, order: Tensor | None = None) -> Tensor:
    """[n, C] classes from the last place to the first, which is the label's; of equal ones the later class first.

    Args:
        teacher: [n, C].
        label: [n, 1].
        order: ``teacher.argsort(dim=1, stable=True)`` of any integer type, where it is known.

    Raises:
        IndexError: an order that is no permutation, as from the C code; looked at on the CPU only.
    """
    if order is None:
        return teacher.scatter(1, label, torch.inf).argsort(dim=1, stable=True)
    order = order.long()
    _check(order)
    at = (order == label).to(torch.uint8).argmax(dim=1, keepdim=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return order.gather(1, (places + (places >= at)).clamp_max_(order.shape[1] - 1)).scatter(1, _last(order), label)


def _check(order: Tensor) -> None:
    """A class that is there twice would leave another's gradient unwritten."""
    if not order.is_cpu or torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None:
        return
    least, most = (x.item() for x in order.aminmax()) if order.numel() else (0, 0)
    whole = 0 <= least and most < order.shape[1]
    if not whole or not torch.zeros_like(order, dtype=torch.bool).scatter_(1, order, True).all():
        kind, text = OUTCOMES[3]
        raise kind(text)


def _last(order: Tensor) -> Tensor:
    return torch.full_like(order[:, :1], order.shape[1] - 1)


def _pld(
    student: Tensor, teacher: Tensor, target: Tensor, out: Tensor | None, scale: float, *, temperature: float,
    ce_weight: float = 0.0, order: Tensor | None = None,
) -> Tensor:
    order = ranking(teacher, target[:, None], order)
    weight = torch.softmax(teacher * (1 / temperature), dim=1).gather(1, order)
    if ce_weight:
        weight[:, -1] += ce_weight
    score = student.gather(1, order)
    score.sub_(score.amax(dim=1, keepdim=True))
    if student.device.type != "cpu" or not score.amin() > -WIDEST[score.dtype]:
        return _far(score, weight, order, out, scale)
    e = score.exp()
    total = e.cumsum(dim=1)  # of the class and those behind it
    rows = row_dot(weight, total.log().sub_(score)).squeeze(1)
    if out is not None:
        # d/ds is e times the sum of weight / total over the places from here to the first, less the weight.
        tail = torch.div(weight, total, out=total).flip(1).cumsum(dim=1).flip(1)
        out.scatter_(1, order, e.mul_(tail).sub_(weight).mul_(scale))
    return rows


def _far(score: Tensor, weight: Tensor, order: Tensor, out: Tensor | None, scale: float) -> Tensor:
    """Where exp would underflow: the same in log space."""
    total = score.logcumsumexp(dim=1)
    if out is not None:
        tail = (weight.log() - total).flip(1).logcumsumexp(dim=1).flip(1)
        out.scatter_(1, order, tail.add_(score).exp_().sub_(weight).mul_(scale))
    return row_dot(weight, total.sub_(score)).squeeze(1)


pld = by_blocks(_pld)
