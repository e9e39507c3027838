"""The budget, kept and checked in float64: an attack that exceeds it by a rounding error claims what is not allowed."""

import torch
from torch import Tensor

from kdzoo.robust.attacks.projections import change_norm, check_norm, per_image, project_l1_box

CIFAR_EPS = {"Linf": 8 / 255, "L2": 0.5, "L1": 12.0}  # Maini et al. (ICML 2020), Croce and Hein (ICML 2022)


def check_eps(eps: float, norm: str, pixels: int | None = None) -> None:
    """ValueError for a budget that is not positive, or larger than the whole box [0, 1]^pixels.

    Example:
        >>> check_eps(8, "Linf")
        ValueError: eps 8 is more than the box [0, 1] is wide in Linf (1); pixels are in [0, 1], so give 8/255 for 8
    """
    check_norm(norm)
    if not eps > 0:
        raise ValueError(f"eps is expected to be above 0 but got {eps}; the accuracy at 0 is the clean accuracy")
    if pixels is None and norm != "Linf":
        return
    widest = {"Linf": 1.0, "L2": (pixels or 1) ** 0.5, "L1": float(pixels or 1)}[norm]
    if eps > widest:
        hint = "; pixels are in [0, 1], so give 8/255 for 8" if norm == "Linf" else "; pixels are in [0, 1], not 0..255"
        raise ValueError(f"eps {eps:g} is more than the box [0, 1] is wide in {norm} ({widest:g}){hint}")


def within_budget(adversarial: Tensor, images: Tensor, norm: str, eps: float) -> Tensor:
    """Adversarial images pulled into the budget and into [0, 1]; what is inside already keeps its place.

    Changes are measured in float64. Linf clips them, L2 and L1 shorten them, and the sum with the image is rounded
    towards the image, so that the result, read in float64, is never farther than eps.

    Args:
        adversarial: [B, ...].
        images: [B, ...] in [0, 1].
        norm: Linf, L2 or L1.
        eps: the budget.

    Returns:
        [B, ...] in the images' dtype.

    Example:
        >>> within_budget(torch.tensor([[0.9]]), torch.tensor([[0.5]]), "L2", 0.25)
        tensor([[0.7500]])
    """
    check_norm(norm)
    origin = images.double()
    change = adversarial.double().clamp(0, 1) - origin
    if norm == "Linf":
        change = change.clamp(-eps, eps)
    else:
        # The margin covers the rounding of the norm and of the product; 0 / 0 is no excess.
        excess = change_norm(change, norm)
        factor = torch.where(excess > eps, eps * (1 - 1e-12) / excess, 1.0)
        change = change * per_image(factor, change)
    return add_towards(images, change)


def project(images: Tensor, x: Tensor, norm: str, eps: float) -> Tensor:
    """The point within eps of the images and in [0, 1] that a step to ``x`` ends at; in L1 the nearest one to ``x``."""
    if norm == "L1":
        return add_towards(images, project_l1_box(images, x - images, eps).double())
    return within_budget(x, images, norm, eps)


def add_towards(images: Tensor, change: Tensor) -> Tensor:
    """``images + change`` (float64) in the images' dtype, never farther from them than the change."""
    origin = images.double()
    total = (origin + change).to(images.dtype)
    farther = (total.double() - origin).abs() > change.abs()
    return torch.where(farther, torch.nextafter(total, images), total)


def keeps_budget(adversarial: Tensor, images: Tensor, norm: str, eps: float) -> Tensor:
    """[B] bool: finite, in [0, 1], and at most eps away in float64; no tolerance."""
    inside = ((adversarial >= 0) & (adversarial <= 1)).flatten(1).all(dim=1)  # false for NaN
    return inside & (change_norm(adversarial.double() - images.double(), norm) <= eps)


def verify_budget(adversarial: Tensor, images: Tensor, norm: str, eps: float | None) -> Tensor:
    """The last word of every attack: pull into the budget, then make sure in float64.

    Args:
        adversarial, images, norm: as of :func:`within_budget`.
        eps: the budget; ``None``: none but [0, 1].

    Raises:
        ValueError: an image is not finite, so the model's gradients were not.
    """
    if eps is None:
        adversarial = adversarial.clamp(0, 1)
        inside = torch.isfinite(adversarial).all()
    else:
        adversarial = within_budget(adversarial, images, norm, eps)
        inside = keeps_budget(adversarial, images, norm, eps).all()
    if not inside:
        raise ValueError("adversarial images are not finite: the model's gradients or logits are nan or infinite")
    return adversarial
