"""Maximum softmax probability (Hendrycks and Gimpel, ICLR 2017)."""

from torch import Tensor

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import Detector


@DETECTORS.register()
class MSP(Detector):
    """The largest softmax probability.

    Example:
        >>> MSP().score_features(torch.tensor([[2.0, 0.0, 0.0]]))
        tensor([0.7870], dtype=torch.float64)
    """

    reads = "logits"

    def _score(self, x: Tensor) -> Tensor:
        return x.double().softmax(dim=1).amax(dim=1)
