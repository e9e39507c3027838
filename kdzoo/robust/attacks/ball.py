"""The three balls of the threat models: norms, projections that keep pixels in [0, 1], sparse steps."""

import torch
from torch import Tensor

NORMS = ("Linf", "L2", "L1")


def expand(values: Tensor) -> Tensor:
    """[B] -> [B, 1, 1, 1]."""
    return values.view(-1, 1, 1, 1)


def norm_of(delta: Tensor, norm: str) -> Tensor:
    """The norm of each image's perturbation [B, C, H, W] -> [B, 1, 1, 1]."""
    order = {"Linf": float("inf"), "L2": 2, "L1": 1}[norm]
    return torch.linalg.vector_norm(delta, ord=order, dim=(1, 2, 3), keepdim=True)


def project(images: Tensor, x: Tensor, norm: str, eps: float) -> Tensor:
    """A point within eps of the images and in [0, 1]: [B, C, H, W].

    Linf and L1: the nearest such point. L2: scaled into the ball, then clipped to the box, which shrinks it further.
    """
    if norm == "Linf":
        return torch.minimum(torch.maximum(x, images - eps), images + eps).clamp(0, 1)
    delta = x - images
    if norm == "L2":
        return (images + delta * (eps / norm_of(delta, norm).clamp_min(1e-12)).clamp_max(1)).clamp(0, 1)
    return images + _l1_box(images, delta, eps)


def _l1_box(images: Tensor, delta: Tensor, eps: float, halvings: int = 30) -> Tensor:
    """The nearest perturbation to ``delta`` with an L1 norm of at most eps that stays in the box.

    d_i = clip(sign(y_i) max(|y_i| - t, 0)) to the box, with the least t >= 0 that meets the budget, found by bisection;
    the upper end of the last bracket is taken, so that the budget is never passed.
    """
    room = torch.where(delta > 0, 1 - images, images)  # how far each pixel can go its way
    size = delta.abs()
    low = torch.zeros_like(size[:, :1, :1, :1])
    high = size.amax(dim=(1, 2, 3), keepdim=True)
    inside = torch.minimum(size, room).sum(dim=(1, 2, 3), keepdim=True) <= eps
    for _ in range(halvings):
        middle = (low + high) / 2
        over = torch.minimum((size - middle).clamp_min(0), room).sum(dim=(1, 2, 3), keepdim=True) > eps
        low, high = torch.where(over, middle, low), torch.where(over, high, middle)
    shrunk = torch.minimum((size - torch.where(inside, 0.0, high)).clamp_min(0), room)
    return delta.sign() * shrunk


def sparse_sign(gradient: Tensor, share: Tensor) -> Tensor:
    """Signs of each gradient's largest entries, of L1 norm 1: [B, C, H, W]; ``share`` [B] of the entries are kept."""
    size = gradient.abs()
    ordered = size.flatten(1).sort(dim=1).values
    count = ordered.shape[1]
    place = ((1 - share) * count).clamp(0, count - 1).long()
    least = ordered.gather(1, place[:, None])
    signs = gradient.sign() * (size >= expand(least))
    return signs / (norm_of(signs, "L1") + 1e-10)
