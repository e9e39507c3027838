"""What an attack is given, checked before it costs anything."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor


def check_batch(images: Tensor, target: Tensor) -> None:
    """ValueError for images that are no floats in [0, 1] [B, ...] or targets that are no [B] class numbers."""
    if images.ndim < 2 or not images.is_floating_point():
        raise ValueError(
            f"images are expected as floats [B, ...] in [0, 1] but got {images.dtype} {list(images.shape)}"
            + ("" if images.is_floating_point() else "; divide by 255")
        )
    if target.shape != images.shape[:1] or target.is_floating_point() or target.dtype == torch.bool:
        raise ValueError(
            f"target is expected as {len(images)} class numbers but got {target.dtype} {list(target.shape)}"
        )
    if not len(images):
        return
    low, high = torch.aminmax(images)
    if not (low >= 0) & (high <= 1):
        raise ValueError(
            f"images are expected in [0, 1] but reach from {low.item():.4g} to {high.item():.4g}; "
            "put the normalisation into the model"
        )


def check_logits(logits: Tensor, target: Tensor) -> None:
    """ValueError for logits of the wrong shape or nan, or labels beyond them; a warning for probabilities.

    Args:
        logits: [b, K], of all or the first clean images.
        target: [B], b <= B.
    """
    if logits.ndim != 2 or len(logits) > len(target) or logits.shape[1] < 2:
        raise ValueError(f"the model is expected to return logits [B, 2 or more classes] but gave {list(logits.shape)}")
    if not len(target):
        return
    if torch.isnan(logits).any():
        raise ValueError("the model's logits of clean images are nan, which no attack can raise; look at its weights")
    low, high = torch.aminmax(target.long())  # not every unsigned type can be compared
    if not (low >= 0) & (high < logits.shape[1]):
        raise ValueError(
            f"labels are expected in 0..{logits.shape[1] - 1}, the model's classes, but reach from {low.item()} to "
            f"{high.item()}"
        )
    if are_probabilities(logits):
        warnings.warn(
            "the model returns probabilities (rows in [0, 1] that sum to 1), whose gradients vanish where it is sure: "
            "attack its logits, or the robust accuracy is too high",
            stacklevel=3,
        )


@torch.no_grad()
def check_attack(model: Callable[[Tensor], Tensor], images: Tensor, target: Tensor) -> None:
    """:func:`check_batch` and, from the first image's logits, :func:`check_logits`."""
    check_batch(images, target)
    check_logits(model(images[:1]), target)


def are_probabilities(logits: Tensor) -> bool:
    """Whether all rows lie in [0, 1] and sum to 1, both to 1e-5."""
    values = logits.detach().double()
    inside = (values >= -1e-5).all() & (values <= 1 + 1e-5).all()
    return bool(inside & ((values.sum(dim=1) - 1).abs() <= 1e-5).all())
