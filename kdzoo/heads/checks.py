"""What every head does first: check the tensors it is given.

Values are looked at on the CPU outside of torch.compile only, as in the losses: on a GPU a look would make
every step wait for the device.
"""

import torch
from torch import Tensor


def check_features(features: Tensor, in_features: int, name: str = "features") -> Tensor:
    """Features in float32 or wider; ValueError unless they are a floating [B, in_features] without NaN."""
    if features.ndim != 2 or features.shape[1] != in_features or not features.is_floating_point():
        got = f"{features.dtype} {list(features.shape)}"
        raise ValueError(f"{name} must be floating [B, {in_features}], got {got}; pass the classifier's input")
    features = features.float() if features.dtype in (torch.float16, torch.bfloat16) else features
    if visible(features) and features.isnan().any():
        raise ValueError(f"{name} must be numbers, got NaN in row {int(features.isnan().any(dim=1).nonzero()[0])}")
    return features


def check_labels(target: Tensor, logits: Tensor, name: str = "target") -> Tensor:
    """Class indices [B] as int64; ValueError for soft labels, another shape, or (on the CPU) a class out of range."""
    size, classes = logits.shape
    if target.shape != (size,) or target.is_floating_point() or target.dtype == torch.bool:
        got = f"{target.dtype} {list(target.shape)}"
        raise ValueError(f"{name} must be class indices [{size}], got {got}; this loss takes no soft labels")
    if visible(target) and size and not (0 <= int(target.min()) and int(target.max()) < classes):
        found = f"{int(target.min())} to {int(target.max())}"
        raise ValueError(f"{name} must hold class indices 0 to {classes - 1}, got {found}")
    return target.long()


def check_target(target: Tensor, logits: Tensor) -> Tensor:
    """Class indices as :func:`check_labels` has them, or soft labels [B, K] in the type of ``logits``."""
    if target.ndim == 1 and not target.is_floating_point():
        return check_labels(target, logits)
    if target.shape != logits.shape or not target.is_floating_point():
        wanted = f"class indices [{len(logits)}] or soft labels {list(logits.shape)}"
        raise ValueError(f"target must be {wanted}, got {target.dtype} {list(target.shape)}")
    return target.to(logits.dtype)


def check_sizes(in_features: int, num_classes: int) -> None:
    """ValueError unless there are features and at least two classes."""
    if in_features < 1 or num_classes < 2:
        raise ValueError(f"a head takes in_features >= 1 and num_classes >= 2, got {in_features} and {num_classes}")


def visible(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling()
