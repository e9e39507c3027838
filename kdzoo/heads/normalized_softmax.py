"""Softmax on the sphere: cross-entropy of cosines over a temperature."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdzoo.heads.checks import check_target
from kdzoo.heads.cosine import CosineHead
from kdzoo.registry import HEADS

# Of log T in a file of float16 or bfloat16, for T from 0.02 to 50.
LOG_ROUNDING = 0.01


@HEADS.register()
class NormalizedSoftmaxHead(CosineHead):
    r"""Logits :math:`\cos(h, w_k) / T`, trained with cross-entropy.

    Its embeddings are compared by their angles, and classes that were never trained on are recognised by their
    mean direction: see ``kdzoo.heads.novel`` and :meth:`add_class`.

    Args:
        in_features: D.
        num_classes: K.
        temperature: T, above 0. The paper's value was not available to us; 0.05 is the metric-learning
            literature's. Weights that were trained with another are refused.
        learn_temperature: train log T with the rest, starting from ``temperature``, or from what the weights hold.
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

    def unfit(self, state: Mapping[str, Tensor]) -> str | None:
        """Why weights of this head, by name, give another function here than where they were trained; ``None``: not.

        A fixed temperature is a choice, so of two that differ neither is taken silently.
        """
        stored = state.get("log_temperature")
        if self.fixed is None or stored is None or abs(float(stored) - math.log(self.fixed)) <= LOG_ROUNDING:
            return None
        value = f"{math.exp(float(stored)):.4g}"
        told = f"the weights were trained with temperature {value}, the head has {self.fixed:.4g}"
        return f"{told}; set temperature={value}, or learn_temperature=True, which takes what they hold"

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *arguments: Any) -> None:
        own = {name.removeprefix(prefix): x for name, x in state_dict.items() if name.startswith(prefix)}
        told = self.unfit(own)
        if told is not None:
            arguments[-1].append(told)  # torch raises a RuntimeError of them all
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    @property
    def temperature(self) -> Tensor | float:
        return self.log_temperature.exp() if self.fixed is None else self.fixed

    def forward(self, features: Tensor) -> Tensor:
        """[B, D] to [B, K]."""
        return self.cosine(features) / self.temperature

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of this head's logits [B, K] with class indices [B] or soft labels [B, K]."""
        return nn.functional.cross_entropy(logits, check_target(target, logits))
