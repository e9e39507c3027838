"""Activation shaping (Djurisic, Bozanic, Ashok and Liu, ICLR 2023): the energy of pruned features."""

import torch
from torch import Tensor

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import ClassifierDetector
from kdzoo.robust.ood.energy import energy


class _ASH(ClassifierDetector):
    """Keep the largest features of each sample, shape them, and take the energy.

    Args:
        model: as for every detector; its classifier has to be one linear layer.
        percentile: of a sample's features to drop (default 90).
        weight, bias: of the classifier, in place of a model.
    """

    def __init__(self, model=None, percentile: float = 90.0, weight: Tensor | None = None, bias: Tensor | None = None):
        super().__init__(model, weight, bias)
        if not 0 <= percentile < 100:
            raise ValueError(f"percentile is expected in [0, 100) but got {percentile}")
        self.percentile = percentile

    def _score(self, x: Tensor) -> Tensor:
        kept, place = largest(x, self.percentile)
        return energy(self.logits(torch.zeros_like(x).scatter(1, place, self._shape(x, kept))))

    def _shape(self, x: Tensor, kept: Tensor) -> Tensor:
        raise NotImplementedError


@DETECTORS.register("ASH-B")
class ASHB(_ASH):
    """Each of the k kept features becomes the sum of all over k.

    Example:
        >>> ASHB(weight=torch.randn(10, 64)).score_features(torch.rand(2, 64)).shape
        torch.Size([2])
    """

    def _shape(self, x: Tensor, kept: Tensor) -> Tensor:
        return (x.sum(dim=1, keepdim=True) / kept.shape[1]).expand_as(kept)


@DETECTORS.register("ASH-P")
class ASHP(_ASH):
    """The kept features stay as they are.

    Example:
        >>> ASHP(weight=torch.randn(10, 64)).score_features(torch.rand(2, 64)).shape
        torch.Size([2])
    """

    def _shape(self, x: Tensor, kept: Tensor) -> Tensor:
        return kept


@DETECTORS.register("ASH-S")
class ASHS(_ASH):
    """The kept features are scaled by exp(sum of all / sum of the kept).

    Example:
        >>> ASHS(weight=torch.randn(10, 64)).score_features(torch.rand(2, 64)).shape
        torch.Size([2])
    """

    def _shape(self, x: Tensor, kept: Tensor) -> Tensor:
        return kept * ratio(x, kept).exp()


def largest(x: Tensor, percentile: float) -> tuple[Tensor, Tensor]:
    """Values and places [B, k] of the k = D - round(D percentile / 100) largest features of each row, at least one."""
    count = max(1, x.shape[1] - round(x.shape[1] * percentile / 100))
    return x.topk(count, dim=1)


def ratio(x: Tensor, kept: Tensor) -> Tensor:
    """Sum of all over sum of the kept, [B, 1]; 1 where nothing is active."""
    whole, part = x.sum(dim=1, keepdim=True), kept.sum(dim=1, keepdim=True)
    return torch.where(part > 0, whole / part.clamp_min(torch.finfo(x.dtype).tiny), 1.0).to(x.dtype)
