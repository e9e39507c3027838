"""KD as a module."""

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.checks import check_temperature
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class KD(nn.Module):
    """Distillation of the teacher's softened logits; see :func:`kdzoo.losses.functional.kd`.

    Args:
        temperature: 4 as in RepDistiller and mdistiller; 2 (3 for some pairs) with ``standardize``.
        standardize: Z-score both logits first (Sun et al., CVPR 2024).

    Example:
        >>> loss = KD(temperature=2.0, standardize=True)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True

    def __init__(self, temperature: float = 4.0, standardize: bool = False):
        super().__init__()
        self.temperature, self.standardize = check_temperature(temperature), standardize

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        return KF.kd(student.logits, teacher.logits, self.temperature, self.standardize)
