"""Distilling a smoothed teacher in training."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.certify.training import smooth_teacher_loss
from kdzoo.robust.objectives.noisy import NoisyObjective, hard, smoothed


@OBJECTIVES.register()
class SmoothTeacher(NoisyObjective):
    """KD under the same noise, against the teacher's prediction averaged over the copies.

    The weights and the temperature are those of plain KD as CIFAR-100 recipes have it (0.1, 0.9 and 4); the method is
    Hinton et al.'s (2015) with the smoothed teacher in the place of the teacher.

    Args:
        sigma: of the noise, in pixels; the teacher is to have been trained with it.
        copies: M noisy copies, the same for both networks (default 2).
        temperature: T (default 4).
        ce_weight: of the cross-entropy of the noisy copies (default 0.1).
        kd_weight: of the distillation (default 0.9).

    Raises:
        ValueError: a value out of its range.

    Example:
        >>> losses = [dict(type="SmoothTeacher", sigma=0.25)]      # and teacher = dict(checkpoint=...)
    """

    needs_teacher = True

    def __init__(
        self, sigma: float, copies: int = 2, temperature: float = 4.0, ce_weight: float = 0.1, kd_weight: float = 0.9
    ):
        super().__init__(sigma, copies)
        if not (temperature > 0 and ce_weight >= 0 and kd_weight >= 0):
            raise ValueError(
                f"temperature must be positive, weights at least 0, got {temperature}, {ce_weight} and {kd_weight}"
            )
        self.temperature, self.ce_weight, self.kd_weight = temperature, ce_weight, kd_weight

    def forward(
        self, student: nn.Module, teacher: nn.Module | None, images: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] in [0, 1], target [B] -> (scalar, [B, K])."""
        noise = self.noise(images)
        logits = self.logits(student, images, noise)
        with torch.no_grad():
            taught = self.logits(teacher, images, noise)
        with torch.autocast(images.device.type, enabled=False):
            cross_entropy = F.cross_entropy(logits.flatten(0, 1).float(), hard(target).repeat(self.copies))
            distilled = smooth_teacher_loss(logits, taught, self.temperature)
        return self.ce_weight * cross_entropy + self.kd_weight * distilled, smoothed(logits)
