"""KD with every image softened to one entropy, as a module."""

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.tempnet import check_range, check_rho
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class PersonalKD(nn.Module):
    """KD at the temperature a trained TempNet aims at, solved for instead of learnt.

    Each image's temperature makes the teacher's softened probabilities lie at the KL divergence
    ``rho`` from uniform; see :func:`kdzoo.losses.functional.personal_temperature`. Ours.

    Args:
        rho: in nats, above 0 and below log C; larger is sharper.
        low, high: bounds of the temperature.

    Example:
        >>> loss = PersonalKD(rho=1.0)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True

    def __init__(self, rho: float = 1.0, low: float = 1.0, high: float = 8.0):
        super().__init__()
        check_rho(rho)
        check_range(low, high)
        self.rho, self.low, self.high = rho, low, high

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        temperature = KF.personal_temperature(teacher.logits, self.rho, self.low, self.high)
        return KF.personal_kd(student.logits, teacher.logits, temperature)
