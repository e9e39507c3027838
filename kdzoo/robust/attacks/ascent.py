"""One step of APGD uphill, in each norm."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kdzoo.robust.attacks.budget import project, within_budget
from kdzoo.robust.attacks.projections import change_norm, per_image

TINY = 1e-12  # keeps the quotient of a zero gradient finite, as published


def linf_step(x: Tensor, before: Tensor, gradient: Tensor, images: Tensor, step: Tensor, eps: float, momentum: float):
    """Along the gradient's sign, then momentum; clipped to the budget and to [0, 1] both times."""
    low, high = (images - eps).clamp_min(0), (images + eps).clamp_max(1)
    moved = torch.clamp(x + step * gradient.sign(), low, high)
    return torch.clamp(x + (moved - x) * momentum + (x - before) * (1 - momentum), low, high)


def l2_step(x: Tensor, before: Tensor, gradient: Tensor, images: Tensor, step: Tensor, eps: float, momentum: float):
    """Along the gradient scaled to length 1, then momentum; onto the ball and into [0, 1] both times."""
    moved = x + step * gradient / (per_image(change_norm(gradient, "L2"), x) + TINY)
    moved = _onto_ball(moved, images, eps)
    return _onto_ball(x + (moved - x) * momentum + (x - before) * (1 - momentum), images, eps)


def _onto_ball(x: Tensor, images: Tensor, eps: float) -> Tensor:
    change = x - images
    length = per_image(change_norm(change, "L2"), x)
    return (images + change / (length + TINY) * length.clamp_max(eps)).clamp(0, 1)


def l1_step(x: Tensor, gradient: Tensor, images: Tensor, step: Tensor, share: Tensor, eps: float) -> Tensor:
    """Along the signs of the ``share`` [B] of pixels with the largest gradient, then onto ball and box at once."""
    return project(images, x + step * sparse_sign(gradient, share), "L1", eps)


def sparse_sign(gradient: Tensor, share: Tensor) -> Tensor:
    """Signs of each gradient's largest entries, [B, ...] of L1 norm 1; ``share`` [B] of the entries are kept."""
    size = gradient.abs()
    pixels = size[0].numel()
    place = ((1.0 - share) * pixels).clamp(0, pixels - 1).long()
    least = size.flatten(1).sort(dim=1).values.gather(1, place[:, None]).squeeze(1)
    signs = gradient.sign() * (size >= per_image(least, size))
    return signs / (per_image(change_norm(signs, "L1"), size) + 1e-10)


@dataclass
class Ascent:
    """The step of one norm: every point it returns is within the budget in float64."""

    norm: str
    eps: float

    def __call__(
        self, x: Tensor, before: Tensor, gradient: Tensor, images: Tensor, step: Tensor, share: Tensor, momentum: float
    ) -> Tensor:
        if self.norm == "L1":
            return l1_step(x, gradient, images, step, share, self.eps)
        take = linf_step if self.norm == "Linf" else l2_step
        moved = take(x, before, gradient, images, step, self.eps, momentum)
        return within_budget(moved, images, self.norm, self.eps)
