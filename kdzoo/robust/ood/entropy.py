"""Entropy of the softmax."""

from torch import Tensor

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import Detector


@DETECTORS.register()
class Entropy(Detector):
    """The negative entropy of the softmax, in nats: sum p log p.

    Example:
        >>> Entropy().score_features(torch.zeros(1, 2))
        tensor([-0.6931], dtype=torch.float64)
    """

    reads = "logits"

    def _score(self, x: Tensor) -> Tensor:
        log_p = x.double().log_softmax(dim=1)
        return (log_p.exp() * log_p).sum(dim=1)
