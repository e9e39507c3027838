"""What can be attacked, and one sentence about what can't."""

import torch
from torch import Tensor, nn


def check_images(model: nn.Module, images: Tensor, target: Tensor) -> None:
    """Raise ValueError for what can't be attacked."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"the model is expected to be a torch module but is a {type(model).__name__}; wrap it in one")
    if training := [name for name, module in model.named_modules() if module.training]:
        raise ValueError(
            f"the model is in training mode (module {training[0] or 'itself'!r}), where batch norm and dropout change; "
            "call model.eval() first, and make a network that is meant to be random so in evaluation mode"
        )
    if images.ndim != 4 or not images.is_floating_point() or len(images) == 0:
        raise ValueError(f"images are expected as floats [N, C, H, W] but got {images.dtype} {list(images.shape)}")
    if min(images.shape[2:]) < 5:
        raise ValueError(f"AutoAttack needs images of 5 x 5 pixels or more but these are {tuple(images.shape[2:])}")
    if target.shape != images.shape[:1] or target.is_floating_point() or target.dtype == torch.bool:
        raise ValueError(
            f"labels are expected as whole numbers [{len(images)}] but got {target.dtype} {list(target.shape)}"
        )
    low, high = float(images.min()), float(images.max())
    if not (0 <= low and high <= 1):  # false for NaN
        raise ValueError(
            f"images are expected in [0, 1] but are in [{low:g}, {high:g}]; the normalisation belongs in the model"
        )


def check_eps(norm: str, eps: float, images: Tensor) -> None:
    """Raise ValueError where the budget is no limit: the whole box is within reach."""
    size = images[0].numel()
    reach = {"Linf": 1.0, "L2": size**0.5, "L1": float(size)}[norm]
    if eps >= reach:
        raise ValueError(f"eps {eps:g} spans the whole box of {size} pixels in {norm} ({reach:g}); use less")


def check_labels(logits: Tensor, target: Tensor) -> int:
    """The number of classes; ValueError where the labels are of others or the logits are no [B, K]."""
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        raise ValueError("the model is expected to return logits [B, K] as one tensor")
    if logits.isnan().any():
        raise ValueError("the model's logits of clean images are nan, which no attack can raise; look at its weights")
    low, high, classes = int(target.min()), int(target.max()), logits.shape[1]
    if low < 0 or high >= classes:
        raise ValueError(f"labels are expected from 0 to {classes - 1} but go from {low} to {high}")
    return classes


def check_shares(images: int, chunk: int, processes: int) -> None:
    """Raise ValueError where a process would have no chunk; every process says so, before anything runs."""
    chunks = -(-images // chunk)
    if processes > chunks:
        raise ValueError(
            f"{images} images in chunks of {chunk} are {chunks} chunks, too few for {processes} processes; "
            f"use a chunk (--batch) of {max(1, images // processes)} or fewer processes"
        )
