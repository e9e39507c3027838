"""Maximum logit (Hendrycks et al., ICML 2022)."""

from torch import Tensor

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import Detector


@DETECTORS.register()
class MaxLogit(Detector):
    """The largest logit.

    Example:
        >>> MaxLogit().score_features(torch.tensor([[2.0, 0.0, 0.0]]))
        tensor([2.], dtype=torch.float64)
    """

    reads = "logits"

    def _score(self, x: Tensor) -> Tensor:
        return x.amax(dim=1)
