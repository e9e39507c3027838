"""DKD as a module."""

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.checks import check_temperature, check_weight
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class DKD(nn.Module):
    """Decoupled distillation; see :func:`kdzoo.losses.functional.dkd`.

    Published beside cross-entropy of weight 1, with ``warmup_epochs=20`` (1 on ImageNet).

    Args:
        alpha: weight of the target part, 1 as in mdistiller.
        beta: weight of the non-target part, 8 as in mdistiller; 2 or 6 for some pairs.
        temperature: 4 as in mdistiller; 2 with ``standardize``, 1 on ImageNet.
        standardize: Z-score both logits first (Sun et al., CVPR 2024, who then multiply alpha and beta by 9 or more).

    Example:
        >>> loss = DKD(beta=2.0)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True

    def __init__(self, alpha: float = 1.0, beta: float = 8.0, temperature: float = 4.0, standardize: bool = False):
        super().__init__()
        self.alpha, self.beta = check_weight(alpha, "alpha"), check_weight(beta, "beta")
        self.temperature, self.standardize = check_temperature(temperature), standardize

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        return KF.dkd(
            student.logits, teacher.logits, target, self.alpha, self.beta, self.temperature, self.standardize
        )
