"""What the closed forms on the CPU share: blocks of rows that stay in the cache, softened logits, the way back.

A loss is a function of one block, ``loss(student, teacher, target, out, scale, **parameters)`` in float32 or
float64, that returns its rows [n] and writes ``scale`` times their gradient into ``out`` [n, C], which is ``None``
where none is wanted. The other arguments are not written to. Nothing here asks the device a question, and no
autograd graph is built: the same code serves a GPU whose kernel did not compile.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

# Entries of a block: 512 KB in float32, so that the few buffers of a loss stay in the caches. Measured for KD on
# cores with 512 KB each: 16k is 1.4 times slower (calls), 64k equal, 1M 1.2 times slower (page faults).
BLOCK = 1 << 17
# As in kdzoo.losses.functional.standardize, which kernels can't import: rows this flat pass no gradient on.
STD_FLOOR, STD_EPS = 1e-4, 1e-7


def by_blocks(loss: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """The loss of one block as one of the whole batch, under the signature all implementations have."""
    return partial(_by_blocks, loss)


def _by_blocks(
    loss: Callable[..., Tensor], student: Tensor, teacher: Tensor | None, target: Tensor | None, *,
    reduction_scale: float, need_grad: bool, **parameters,
) -> tuple[Tensor, Tensor | None]:
    size, classes = student.shape
    grad = torch.empty(size, classes, dtype=student.dtype, device=student.device) if need_grad else None
    step = max(1, BLOCK // max(1, classes)) if student.device.type == "cpu" else max(1, size)
    if size <= step:
        return _block(loss, student, teacher, target, grad, reduction_scale, parameters), grad
    rows = []
    for start in range(0, size, step):
        part = slice(start, start + step)
        tensors = (x if x is None else x[part] for x in (student, teacher, target, grad))
        own = {name: x[part] if isinstance(x, Tensor) else x for name, x in parameters.items()}
        rows.append(_block(loss, *tensors, reduction_scale, own))
    return torch.cat(rows), grad


def _block(
    loss: Callable[..., Tensor], student: Tensor, teacher: Tensor | None, target: Tensor | None, grad: Tensor | None,
    scale: float, parameters: dict,
) -> Tensor:
    wide = widen(student)
    out = grad if grad is None or grad.dtype == wide.dtype else torch.empty_like(wide)
    rows = loss(wide, None if teacher is None else widen(teacher).to(wide.dtype), target, out, scale, **parameters)
    if out is not grad:
        grad.copy_(out)
    return rows


def widen(logits: Tensor) -> Tensor:
    """Half precision as float32."""
    return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()


def row_dot(x: Tensor, y: Tensor) -> Tensor:
    """[n, 1] from [n, C] and [n, C]; not linalg.vecdot, which autocast lowers to half precision."""
    return (x * y).sum(dim=1, keepdim=True)


def log_sum(v: Tensor, p: Tensor) -> Tensor:
    """Row logsumexp [n, 1] of v [n, C] whose softmax is p: the largest entries tell it without another exp."""
    return v.amax(dim=1, keepdim=True).sub_(p.amax(dim=1, keepdim=True).log_())


@dataclass
class Softened:
    """Logits over a temperature, or their Z-scores over it.

    Args:
        v: [n, C], a buffer of its own.
        temperature: above 0.
        std: [n, 1], the deviation that Z-scores were divided by; ``None`` without.
    """

    v: Tensor
    temperature: float
    std: Tensor | None = None

    def back(self, grad: Tensor, scale: float) -> None:
        """The gradient of v, rows of sum 0, becomes ``scale`` times the logits', in place."""
        scale /= self.temperature
        if self.std is None:
            grad.mul_(scale)
            return
        # z = T v = (s - mean) / (std + eps), so dz/ds takes off z (z . grad) (std + eps) / ((C - 1) std), and the
        # gradient's mean, which is 0 here.
        spread = self.std + STD_EPS
        pull = row_dot(grad, self.v).mul_(self.temperature**2 / (grad.shape[1] - 1)).mul_(spread)
        grad.addcmul_(self.v, pull.div_(self.std.clamp_min(STD_FLOOR)), value=-1)
        grad.mul_(torch.where(self.std < STD_FLOOR, 0.0, scale / spread))


def soften(logits: Tensor, temperature: float, standardize: bool = False) -> Softened:
    """Logits [n, C] over the temperature, or their Z-scores over it."""
    if not standardize:
        return Softened(logits * (1 / temperature), temperature)
    # The first logit is taken off, so that constant rows become exactly 0, as in torch.std.
    v = logits - logits[:, :1]
    v.sub_(v.mean(dim=1, keepdim=True))
    std = torch.linalg.vector_norm(v, dim=1, keepdim=True).mul_((v.shape[1] - 1) ** -0.5)
    return Softened(v.div_((std + STD_EPS).mul_(temperature)), temperature, std)
