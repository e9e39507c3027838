"""SCALE (Xu, Chen, Franchi and Yao, ICLR 2024)."""

from torch import Tensor

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.ash import largest, ratio
from kdzoo.robust.ood.detector import ClassifierDetector
from kdzoo.robust.ood.energy import energy


@DETECTORS.register()
class SCALE(ClassifierDetector):
    """The energy of features scaled by exp(sum of all / sum of the largest); nothing is pruned.

    Args:
        model: as for every detector; its classifier has to be one linear layer.
        percentile: above which features count as the largest (default 85 as in the paper).
        weight, bias: of the classifier, in place of a model.

    Example:
        >>> SCALE(weight=torch.randn(10, 64)).score_features(torch.rand(2, 64)).shape
        torch.Size([2])
    """

    def __init__(self, model=None, percentile: float = 85.0, weight: Tensor | None = None, bias: Tensor | None = None):
        super().__init__(model, weight, bias)
        if not 0 <= percentile < 100:
            raise ValueError(f"percentile is expected in [0, 100) but got {percentile}")
        self.percentile = percentile

    def _score(self, x: Tensor) -> Tensor:
        return energy(self.logits(x * ratio(x, largest(x, self.percentile)[0]).exp()))
