"""WSLD as a module."""

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.checks import check_temperature, check_weight
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class WSLD(nn.Module):
    """Weighted soft labels; see :func:`kdzoo.losses.functional.wsld`. Published beside cross-entropy of weight 1.

    Args:
        alpha: 2.25 on CIFAR-100, 2.5 on ImageNet.
        temperature: 4 on CIFAR-100, 2 on ImageNet.

    Example:
        >>> loss = WSLD()
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True

    def __init__(self, alpha: float = 2.25, temperature: float = 4.0):
        super().__init__()
        self.alpha, self.temperature = check_weight(alpha, "alpha"), check_temperature(temperature)

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        return KF.wsld(student.logits, teacher.logits, target, self.alpha, self.temperature)
