"""Energy (Liu et al., NeurIPS 2020)."""

import torch
from torch import Tensor

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import Detector


@DETECTORS.register()
class Energy(Detector):
    """The negative free energy, T logsumexp(l / T).

    Args:
        model: as for every detector.
        temperature: T, default 1 as in the paper.

    Example:
        >>> Energy().score_features(torch.zeros(1, 2))
        tensor([0.6931], dtype=torch.float64)
    """

    reads = "logits"

    def __init__(self, model=None, temperature: float = 1.0):
        super().__init__(model)
        if not temperature > 0:
            raise ValueError(f"temperature is expected to be positive but got {temperature}")
        self.temperature = temperature

    def _score(self, x: Tensor) -> Tensor:
        return energy(x, self.temperature)


def energy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """T logsumexp(logits / T) of [B, C] in float64: [B]."""
    return temperature * torch.logsumexp(logits.double() / temperature, dim=1)
