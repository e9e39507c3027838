"""Gradient alignment: what of the distillation's gradient opposes the task's is taken away."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Gradients = list[Tensor | None]


def align_gradients(task: Sequence[Tensor | None], distill: Sequence[Tensor | None]) -> Gradients:
    r""":math:`g_1 + g_2 - \min(0, g_1 \cdot g_2) / \|g_1\|^2 \, g_1`: one-sided PCGrad, the task's gradient kept.

    The dot product and the norm are those of all parameters together. Where the two agree, this is
    their sum. Nothing waits for the device.

    Args:
        task: g_1 for each parameter; ``None`` where the task does not reach it, which counts as zeros.
        distill: g_2, likewise.

    Returns:
        The merged gradients; ``None`` where both are.

    Source: Yang et al., Dual-Head Knowledge Distillation, KDD 2025; after Yu et al., Gradient
    Surgery for Multi-Task Learning, NeurIPS 2020.

    Example:
        >>> merged = align_gradients(torch.autograd.grad(task, weights, retain_graph=True), distill_gradients)
    """
    if len(task) != len(distill):
        raise ValueError(f"task and distill must have one length, got {len(task)} and {len(distill)}")
    both = [(a, b) for a, b in zip(task, distill, strict=True) if a is not None and b is not None]
    if not both:
        return [b if a is None else a for a, b in zip(task, distill, strict=True)]
    dot = _sum((a * b).sum() for a, b in both)
    square = _sum(a.square().sum() for a in task if a is not None)
    # With g_1 = 0 the dot product is 0, too, and so is the share.
    kept = 1 - dot.clamp_max(0) / square.clamp_min(torch.finfo(square.dtype).tiny)

    def merge(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        if a is None:
            return b
        return kept * a if b is None else torch.addcmul(b, kept, a)

    return [merge(a, b) for a, b in zip(task, distill, strict=True)]


class AlignedGradients:
    """Gathers both gradients over the parts of a step, and writes the merged ones.

    ``torch.autograd.grad`` is used, which fires none of DDP's hooks; so under DDP run the forward in
    ``no_sync`` and give :meth:`write` a ``reduce``.

    Args:
        parameters: those of the Distiller.

    Example:
        >>> gradients = AlignedGradients(distiller.parameters())
        >>> gradients.add(*distiller.split(distiller(images, target)))
        >>> gradients.write()  # then optimizer.step()
    """

    def __init__(self, parameters):
        self.parameters = [p for p in parameters if p.requires_grad]
        self.task: Gradients = [None] * len(self.parameters)
        self.distill: Gradients = [None] * len(self.parameters)

    def add(self, task: Tensor, distill: Tensor) -> None:
        """Add the gradients of two scalars of one graph."""
        for scalar, held, keep in ((task, self.task, True), (distill, self.distill, False)):
            fresh = torch.autograd.grad(scalar, self.parameters, retain_graph=keep, allow_unused=True)
            for i, gradient in enumerate(fresh):
                if gradient is not None:
                    held[i] = gradient if held[i] is None else held[i] + gradient

    def write(self, reduce: Callable[[Tensor], Tensor] | None = None) -> None:
        """Set every parameter's ``grad`` to the merged gradient.

        Args:
            reduce: mean of a flat tensor over all processes, called once.
        """
        if reduce is not None:
            self._exchange(reduce)
        for parameter, gradient in zip(self.parameters, align_gradients(self.task, self.distill), strict=True):
            parameter.grad = gradient

    def _exchange(self, reduce: Callable[[Tensor], Tensor]) -> None:
        held = [g for g in (*self.task, *self.distill) if g is not None]
        flat = reduce(torch.cat([g.flatten() for g in held]))
        parts = iter(part.view_as(g) for part, g in zip(flat.split([g.numel() for g in held]), held, strict=True))
        for gradients in (self.task, self.distill):
            gradients[:] = [None if g is None else next(parts) for g in gradients]


def _sum(scalars) -> Tensor:
    return torch.stack(list(scalars)).sum()
