"""MACER in training."""

import torch
from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.certify.training import macer_loss
from kdzoo.robust.objectives.noisy import NoisyObjective, hard, smoothed


@OBJECTIVES.register()
class MACER(NoisyObjective):
    """The smoothed classifier's NLL, and a hinge that widens the certified radius of what is right.

    Zhai et al., "MACER: attack-free and scalable robust training via maximizing certified radius", ICLR 2020.

    Args:
        sigma: of the noise, in pixels.
        copies: M noisy copies (default 16, as the paper).
        strength: of the hinge, the paper's lambda (default 12, at sigma 0.25 on CIFAR-10).
        beta: inverse temperature of the soft votes (default 16).
        gamma: margins above it gain nothing (default 8).

    Raises:
        ValueError: a value out of its range.

    Example:
        >>> losses = [dict(type="MACER", sigma=0.25)]
    """

    def __init__(self, sigma: float, copies: int = 16, strength: float = 12.0, beta: float = 16.0, gamma: float = 8.0):
        super().__init__(sigma, copies)
        if not (strength >= 0 and beta > 0 and gamma > 0):
            raise ValueError(
                f"strength must be at least 0, beta and gamma positive, got {strength}, {beta} and {gamma}"
            )
        self.options = dict(strength=strength, beta=beta, gamma=gamma)

    def forward(
        self, student: nn.Module, teacher: nn.Module | None, images: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] in [0, 1], target [B] -> (scalar, [B, K])."""
        logits = self.logits(student, images, self.noise(images))
        with torch.autocast(images.device.type, enabled=False):
            nll, hinge = macer_loss(logits, hard(target), self.sigma, **self.options)
        return nll + hinge, smoothed(logits)
