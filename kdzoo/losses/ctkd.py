"""CTKD: KD at a temperature that is learnt against the student."""

from math import cos, pi

import torch
from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class CTKD(nn.Module):
    r"""KD (:func:`kdzoo.losses.functional.kd`) at :math:`T = t_{start} + t_{end}\,\sigma(\theta)`, theta learnt.

    The gradient of theta is multiplied by a lambda that falls along a half cosine from ``lambda_start``
    to ``lambda_end`` over the first epochs: from 0 to -1, so that theta learns to make the loss
    larger, the task harder. The student's gradients are KD's. Theta starts at 1 (T = 15.6), is one
    number for all images, and trains with the student. Published with weight 0.9 (9 with
    ``standardize``), beside cross-entropy of weight 0.1.

    Args:
        t_start: the lowest temperature, 1.
        t_end: what theta can add to it, 20.
        lambda_start: 0.
        lambda_end: -1.
        lambda_epochs: until lambda_end is reached, 10. The first epoch has its value at 1, not at 0.
        standardize: Z-score both logits first (Sun et al., CVPR 2024).

    Source: Li et al., Curriculum Temperature for Knowledge Distillation, AAAI 2023; defaults from
    the authors' code and scripts.

    Example:
        >>> loss = CTKD()
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True

    def __init__(
        self,
        t_start: float = 1.0,
        t_end: float = 20.0,
        lambda_start: float = 0.0,
        lambda_end: float = -1.0,
        lambda_epochs: int = 10,
        standardize: bool = False,
    ):
        super().__init__()
        if not (t_start > 0 and t_end > 0):
            raise ValueError(f"t_start and t_end must be above 0, got {t_start} and {t_end}")
        if lambda_epochs < 1:
            raise ValueError(f"lambda_epochs must be at least 1, got {lambda_epochs}")
        self.t_start, self.t_end, self.standardize = t_start, t_end, standardize
        self.lambda_start, self.lambda_end, self.lambda_epochs = lambda_start, lambda_end, lambda_epochs
        self.theta = nn.Parameter(torch.ones(1))
        # A tensor, so that a new epoch's value reaches compiled code and CUDA graphs.
        self.register_buffer("reversal", torch.zeros(1), persistent=False)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Set lambda for an epoch, counted from 0."""
        self.reversal.fill_(self.lambda_at(epoch + 1))

    def lambda_at(self, epoch: int) -> float:
        """Lambda of an epoch counted from 1."""
        fallen = (1 - cos(pi * min(epoch, self.lambda_epochs) / self.lambda_epochs)) / 2
        return self.lambda_start + (self.lambda_end - self.lambda_start) * fallen

    @property
    def temperature(self) -> Tensor:
        """[1], the temperature now."""
        return self.t_start + self.t_end * self.theta.sigmoid()

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        temperature = self.temperature
        fixed = temperature.detach()
        # The value is fixed + 0; the gradient is the temperature's times lambda.
        temperature = fixed + self.reversal * (temperature - fixed)
        return KF.kd(student.logits, teacher.logits, temperature, self.standardize)
