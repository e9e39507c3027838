"""DIST as a module."""

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.checks import check_temperature, check_weight
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class DIST(nn.Module):
    """Correlation with the teacher; see :func:`kdzoo.losses.functional.dist`.

    Published with weight 2, beside cross-entropy of weight 1.

    Args:
        beta: weight of the inter-class part, 1.
        gamma: weight of the intra-class part, 1.
        temperature: 1 on ImageNet, 4 on CIFAR-100.

    Example:
        >>> loss = DIST(temperature=4.0)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True

    def __init__(self, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0):
        super().__init__()
        self.beta, self.gamma = check_weight(beta, "beta"), check_weight(gamma, "gamma")
        self.temperature = check_temperature(temperature)

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        return KF.dist(student.logits, teacher.logits, self.beta, self.gamma, self.temperature)
