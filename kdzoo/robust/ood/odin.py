"""ODIN: temperature and input pre-processing (Liang, Li and Srikant, ICLR 2018)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import Detector
from kdzoo.robust.ood.preprocess import score_gradient_sign, step


@DETECTORS.register()
class ODIN(Detector):
    """The largest softmax probability at temperature T, after a step of the image that raises it.

    Args:
        model: images [B, C, H, W] in [0, 1] -> logits.
        temperature: T, default 1000 as in the paper.
        epsilon: step, of pixels in [0, 1]; default 0.0014 as in the paper.
        std: of the normalisation, only for models that take normalised images.

    Example:
        >>> ODIN(model).score(torch.rand(4, 3, 32, 32))
    """

    reads = "images"

    def __init__(
        self, model=None, temperature: float = 1000.0, epsilon: float = 0.0014, std: Sequence[float] | None = None
    ):
        super().__init__(model)
        if not (temperature > 0 and epsilon >= 0):
            raise ValueError(f"expected temperature > 0 and epsilon >= 0 but got {temperature} and {epsilon}")
        self.temperature, self.epsilon, self.std = temperature, epsilon, std

    def _score(self, x: Tensor) -> Tensor:
        if self.epsilon:
            (sign,) = score_gradient_sign(x, lambda images: [self._loss(images)])
            x = step(x, sign, self.epsilon, self.std)
        with torch.no_grad():
            return (self.model(x).double() / self.temperature).softmax(dim=1).amax(dim=1)

    def _loss(self, images: Tensor) -> Tensor:
        logits = self.model(images).double() / self.temperature
        return F.cross_entropy(logits, logits.argmax(dim=1), reduction="none")
