"""Softmax on the sphere: cross-entropy of cosines over a temperature."""

import math

import torch
from torch import Tensor, nn

from kdzoo.heads.checks import check_target
from kdzoo.heads.cosine import CosineHead
from kdzoo.registry import HEADS


@HEADS.register()
class NormalizedSoftmaxHead(CosineHead):
    r"""Logits :math:`\cos(h, w_k) / T`, trained with cross-entropy.

    Its embeddings are compared by their angles, and classes that were never trained on are recognised by their
    mean direction: see ``kdzoo.heads.novel`` and :meth:`add_class`.

    Args:
        in_features: D.
        num_classes: K.
        temperature: T, above 0. The paper's value was not available to us; 0.05 is the metric-learning
            literature's.
        learn_temperature: train log T with the rest, starting from ``temperature``.
        centre: as the layer norm without parameters of Zhai and Wu; see :class:`kdzoo.heads.cosine.CosineHead`.

    Source: Zhai and Wu, Classification is a Strong Baseline for Deep Metric Learning, 2019; for novel classes
    Pereira et al., Hyperspherical embedding for novel class classification, 2021. Of the latter only the abstract
    and introduction could be read: this is the normalised softmax they name, not a checked copy of their method.

    Example:
        >>> head = NormalizedSoftmaxHead(512, 80, temperature=0.05)
        >>> loss = head.loss(head(features), labels)
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        temperature: float = 0.05,
        learn_temperature: bool = False,
        centre: bool = False,
    ):
        super().__init__(in_features, num_classes, centre)
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be above 0 and finite, got {temperature}")
        log_temperature = torch.tensor(math.log(temperature), dtype=torch.float64).to(torch.get_default_dtype())
        self.log_temperature = nn.Parameter(log_temperature, requires_grad=learn_temperature)
        self.fixed = None if learn_temperature else float(temperature)

    @property
    def temperature(self) -> Tensor | float:
        return self.log_temperature.exp() if self.fixed is None else self.fixed

    def forward(self, features: Tensor) -> Tensor:
        """[B, D] to [B, K]."""
        return self.cosine(features) / self.temperature

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of this head's logits [B, K] with class indices [B] or soft labels [B, K]."""
        return nn.functional.cross_entropy(logits, check_target(target, logits))
