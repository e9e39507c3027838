"""Difference of logits ratio (Croce and Hein, ICML 2020): a loss that does not change when logits are scaled."""

import torch
from torch import Tensor

GUARD = 1e-12  # of the denominators, as published


def dlr(logits: Tensor, target: Tensor) -> Tensor:
    """``-(z_y - max_{i != y} z_i) / (z_(1) - z_(3))``, [B], positive where the image is misclassified.

    Args:
        logits: [B, K], K >= 3.
        target: [B] true classes.

    Raises:
        ValueError: fewer than 3 classes.

    Example:
        >>> dlr(torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([0]))
        tensor([-0.6667])
    """
    if logits.shape[1] < 3:
        raise ValueError(f"DLR is expected to have 3 classes or more but got {logits.shape[1]}; use the loss ce")
    highest, classes = logits.topk(3, dim=1)
    own = logits.gather(1, target[:, None]).squeeze(1)
    other = torch.where(classes[:, 0] == target, highest[:, 1], highest[:, 0])
    return -(own - other) / (highest[:, 0] - highest[:, 2] + GUARD)


def targeted_dlr(logits: Tensor, target: Tensor, wanted: Tensor) -> Tensor:
    """``-(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2)``, [B], positive where class t beats the true one.

    Args:
        logits: [B, K], K >= 4.
        target: [B] true classes.
        wanted: [B] classes t to move to.

    Raises:
        ValueError: fewer than 4 classes.
    """
    if logits.shape[1] < 4:
        raise ValueError(f"targeted DLR is expected to have 4 classes or more but got {logits.shape[1]}; use ce")
    highest = logits.topk(4, dim=1).values
    own, other = (logits.gather(1, place[:, None]).squeeze(1) for place in (target, wanted))
    return -(own - other) / (highest[:, 0] - 0.5 * (highest[:, 2] + highest[:, 3]) + GUARD)
