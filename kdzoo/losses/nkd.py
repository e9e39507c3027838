"""NKD as a module."""

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.checks import check_temperature, check_weight
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class NKD(nn.Module):
    """Normalized distillation; see :func:`kdzoo.losses.functional.nkd`. Published beside cross-entropy of weight 1.

    Args:
        gamma: weight of the non-target part; 1.5 on ImageNet, 3.5 on CIFAR-100.
        temperature: of the non-target part; 1 on ImageNet, 3 on CIFAR-100.

    Example:
        >>> loss = NKD(gamma=3.5, temperature=3.0)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True

    def __init__(self, gamma: float = 1.5, temperature: float = 1.0):
        super().__init__()
        self.gamma, self.temperature = check_weight(gamma, "gamma"), check_temperature(temperature)

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        return KF.nkd(student.logits, teacher.logits, target, self.gamma, self.temperature)
