"""Rectified activations (Sun, Guo and Li, NeurIPS 2021)."""

import numpy as np
import torch
from torch import Tensor

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import Batches, ClassifierDetector
from kdzoo.robust.ood.energy import energy

_KEPT = 4_000_000  # activations; beyond them every second image is dropped, then every second of those, ...


@DETECTORS.register()
class ReAct(ClassifierDetector):
    """The energy after features are cut off at a percentile of all in-distribution activations.

    The percentile is exact up to 4 million activations (as ``numpy.percentile``); beyond them it is taken
    of all activations of evenly spaced images, so that memory stays the same.

    Args:
        model: as for every detector; its classifier has to be one linear layer.
        percentile: default 90 as in the paper.
        weight, bias: of the classifier, in place of a model.

    Example:
        >>> ReAct(weight=torch.randn(10, 64)).fit_features(torch.rand(500, 64)).score_features(torch.rand(2, 64))
    """

    needs_fit = True

    def __init__(self, model=None, percentile: float = 90.0, weight: Tensor | None = None, bias: Tensor | None = None):
        super().__init__(model, weight, bias)
        if not 0 < percentile < 100:
            raise ValueError(f"percentile is expected in (0, 100) but got {percentile}")
        self.percentile = percentile

    def _fit(self, batches: Batches) -> None:
        parts, stride, seen, held = [], 1, 0, 0
        for features, _ in batches():
            rows = features.detach().cpu().double().numpy()
            # Whole rows: single activations at an even spacing would all be of a few channels.
            part = rows[-seen % stride :: stride]
            seen += len(rows)
            parts.append(part)
            held += part.size
            while held > _KEPT and sum(map(len, parts)) > 1:
                parts, stride = [np.concatenate(parts)[::2]], 2 * stride
                held = parts[0].size
        if not held:
            raise ValueError("there are no features; fit needs at least one")
        self.threshold = float(np.percentile(np.concatenate(parts), self.percentile))

    def _score(self, x: Tensor) -> Tensor:
        return energy(self.logits(x.clamp(max=self.threshold)))

    def _state(self) -> dict[str, Tensor]:
        return dict(threshold=torch.tensor(self.threshold, dtype=torch.float64))

    def _restore(self, state: dict[str, Tensor]) -> None:
        self.threshold = float(state["threshold"])
