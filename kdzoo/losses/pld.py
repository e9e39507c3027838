"""PLD as a module."""

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.checks import check_temperature, check_weight
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class PLD(nn.Module):
    """Plackett-Luce distillation; see :func:`kdzoo.losses.functional.pld`. Published without another loss beside it.

    Args:
        temperature: of the teacher's weights; 1 on ImageNet, 4 in the paper's CIFAR-100 runs.
        ce_weight: adds cross-entropy with the label; 0 as in the paper.

    Example:
        >>> loss = PLD(temperature=4.0)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True

    def __init__(self, temperature: float = 1.0, ce_weight: float = 0.0):
        super().__init__()
        self.temperature, self.ce_weight = check_temperature(temperature), check_weight(ce_weight, "ce_weight")

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        return KF.pld(student.logits, teacher.logits, target, self.temperature, self.ce_weight)
