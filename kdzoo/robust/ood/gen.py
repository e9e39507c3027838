"""Generalised entropy (Liu, Lochman and Zach, CVPR 2023)."""

from torch import Tensor

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import Detector


@DETECTORS.register()
class GEN(Detector):
    """-sum over the M largest probabilities of p^gamma (1 - p)^gamma.

    Args:
        model: as for every detector.
        gamma: default 0.1 as in the paper.
        most: M, default 100 as in the paper; all classes where there are fewer.

    Example:
        >>> GEN(gamma=0.5).score_features(torch.zeros(1, 2))
        tensor([-1.], dtype=torch.float64)
    """

    reads = "logits"

    def __init__(self, model=None, gamma: float = 0.1, most: int = 100):
        super().__init__(model)
        if not 0 < gamma < 1 or most < 1:
            raise ValueError(f"gamma is expected in (0, 1) and most to be 1 or more but got {gamma} and {most}")
        self.gamma, self.most = gamma, most

    def _score(self, x: Tensor) -> Tensor:
        p = x.double().softmax(dim=1).topk(min(self.most, x.shape[1]), dim=1).values
        return -(p * (1 - p)).clamp_min(0).pow(self.gamma).sum(dim=1)
