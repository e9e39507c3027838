"""The budget: distances in float64, and the nearest float32 images that keep to it."""

import torch
from torch import Tensor


def distance(adversarial: Tensor, images: Tensor, norm: str) -> Tensor:
    """[B] float64 distances between two batches [B, C, H, W] in ``"Linf"``, ``"L2"`` or ``"L1"``."""
    difference = (adversarial.double() - images.double()).flatten(1)
    return torch.linalg.vector_norm(difference, {"Linf": float("inf"), "L2": 2, "L1": 1}[norm], dim=1)


def within(adversarial: Tensor, images: Tensor, norm: str, eps: float) -> Tensor:
    """[B] bool: finite, in [0, 1], and at most eps away in float64; no tolerance."""
    inside = (adversarial >= 0) & (adversarial <= 1)  # false for NaN
    return inside.flatten(1).all(dim=1) & (distance(adversarial, images, norm) <= eps)


def into_budget(adversarial: Tensor, images: Tensor, norm: str, eps: float) -> Tensor:
    """Float32 images for which :func:`within` holds: what attacks return, less what float32 rounding put on top.

    Attacks work in float32, where ``x + eps`` may lie a rounding step beyond eps. The perturbation is clipped to
    the box and then clipped (Linf) or shrunk (L2, L1) to eps in float64, and rounded towards the image.

    Args:
        adversarial: [B, C, H, W], any float type.
        images: [B, C, H, W] float32 in [0, 1].
        norm: ``"Linf"``, ``"L2"`` or ``"L1"``.
        eps: the budget.
    """
    origin = images.double()
    change = adversarial.double().nan_to_num().clamp(0, 1) - origin
    eps = eps * (1 - 1e-12)  # float64's own rounding
    if norm == "Linf":
        change = change.clamp(-eps, eps)
    else:
        length = distance(origin + change, images, norm).view(-1, 1, 1, 1)
        change = change * (eps / length.clamp_min(eps))
    exact = origin + change
    rounded = exact.float()
    beyond = (rounded.double() - origin).abs() > change.abs()
    return torch.where(beyond, torch.nextafter(rounded, images), rounded)
