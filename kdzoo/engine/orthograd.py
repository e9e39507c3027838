"""OrthoGrad (perpGrad): no step along the weights themselves."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# A projection that leaves less than this many roundings of the gradient has left only rounding.
ROUNDINGS = 4


def orthograd(optimizer: Optimizer) -> Optimizer:
    r"""Make ``optimizer`` see each parameter tensor's gradient orthogonal to that tensor, at its old length.

    :math:`g_\perp = g - \frac{w \cdot g}{w \cdot w} w`, rescaled to the norm of g, before every step: the
    gradient can no longer lower the loss by just growing the logits. A tensor of zeros keeps its
    gradient. Where g is parallel to w (always so for a single number) nothing orthogonal is left and
    the gradient becomes 0; the authors' code would scale rounding errors up to the norm of g.

    It is a hook on the step, so that the result is the very optimizer that came in, with its
    ``param_groups``, ``state_dict`` and ``step(closure)``. ``p.grad`` is overwritten. Weight decay inside the
    optimizer still acts along the weights. With sharded parameters (FSDP's flat ones) a tensor is not
    one weight, and the projection is another one.

    Args:
        optimizer: any of torch.optim or timm.

    Returns:
        The same optimizer.

    Source: Prieto et al., Grokking at the Edge of Numerical Stability, ICLR 2025 (there perpGrad; the
    authors' code, OrthoGrad, rescales always).

    Example:
        >>> optimizer = orthograd(torch.optim.SGD(model.parameters(), lr=0.1))
        >>> optimizer.step()
    """
    optimizer.register_step_pre_hook(_before_step)
    return optimizer


@torch.no_grad()
def project(weight: Tensor, gradient: Tensor) -> Tensor:
    """The gradient's part orthogonal to the weight, rescaled to the gradient's norm; both of one shape.

    Example:
        >>> project(torch.tensor([1.0, 0.0]), torch.tensor([3.0, 4.0]))
        tensor([0., 5.])
    """
    dtype = torch.promote_types(gradient.dtype, torch.float32)
    # Both brought to a largest entry of 1: squares of tiny entries would underflow.
    w, (g, peak) = _scaled(weight.to(dtype))[0], _scaled(gradient.to(dtype))
    orthogonal = g - (w * g).sum() / (w * w).sum().clamp_min(1.0) * w  # w . w is at least 1, or 0 for zero weights
    length, left = g.norm(), orthogonal.norm()
    real = left > ROUNDINGS * torch.finfo(gradient.dtype).eps * length
    factor = torch.where(real, peak * length / torch.where(real, left, 1.0), 0.0)
    return (orthogonal * factor).to(gradient.dtype)


def _scaled(x: Tensor) -> tuple[Tensor, Tensor]:
    """``x`` over its largest absolute entry, and that; zeros stay zeros."""
    peak = x.abs().amax()
    return x / torch.where(peak > 0, peak, 1.0), peak


@torch.no_grad()
def _project_all(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None and p.numel():
                p.grad.copy_(project(p, p.grad))


def _before_step(optimizer: Optimizer, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
    """Project now, or after each call of the closure, which makes the gradients anew."""
    closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
    if closure is None:
        _project_all(optimizer)
        return None

    def projected() -> Any:
        with torch.enable_grad():
            loss = closure()
        _project_all(optimizer)
        return loss

    return (args[0], projected, *args[2:]), {k: v for k, v in kwargs.items() if k != "closure"}
