"""Losses that read only the label's score."""

from collections.abc import Callable

from torch import Tensor


def label_loss(scores: Tensor, target: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """[B]: the elementwise ``loss`` of the label's score; with soft labels the mean over the labels.

    Args:
        scores: [B, C].
        target: class indices [B] or soft labels [B, C], checked.
        loss: maps scores of any shape to losses of that shape.
    """
    if target.ndim == 1:
        return loss(scores.gather(1, target[:, None])).squeeze(1)
    return (target * loss(scores)).sum(dim=1)
