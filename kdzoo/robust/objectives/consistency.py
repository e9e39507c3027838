"""Consistency regularisation in training."""

import torch
from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.certify.training import consistency_loss
from kdzoo.robust.objectives.noisy import NoisyObjective, hard, smoothed


@OBJECTIVES.register()
class Consistency(NoisyObjective):
    """Cross-entropy of all noisy copies, and a regulariser that makes them agree, and surely.

    Jeong and Shin, "Consistency regularization for certified robustness of smoothed classifiers", NeurIPS 2020.

    Args:
        sigma: of the noise, in pixels.
        copies: M >= 2 noisy copies (default 2, as the paper).
        strength: of mean_i KL(p_mean || p_i), the paper's lambda (default 10, at sigma 0.25 and 0.5).
        entropy: of the entropy of p_mean, the paper's eta (default 0.5).

    Raises:
        ValueError: a value out of its range.

    Example:
        >>> losses = [dict(type="Consistency", sigma=0.25)]
    """

    least_copies = 2

    def __init__(self, sigma: float, copies: int = 2, strength: float = 10.0, entropy: float = 0.5):
        super().__init__(sigma, copies)
        if not (strength >= 0 and entropy >= 0):
            raise ValueError(f"strength and entropy must be at least 0, got {strength} and {entropy}")
        self.options = dict(strength=strength, entropy=entropy)

    def forward(
        self, student: nn.Module, teacher: nn.Module | None, images: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] in [0, 1], target [B] -> (scalar, [B, K])."""
        logits = self.logits(student, images, self.noise(images))
        with torch.autocast(images.device.type, enabled=False):
            cross_entropy, regulariser = consistency_loss(logits, hard(target), **self.options)
        return cross_entropy + regulariser, smoothed(logits)
