"""The comp-sum family as a module."""

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.checks import check_weight
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class CompSum(nn.Module):
    """Sum-exponential (tau 0), cross-entropy (1), generalised cross-entropy (1 to 2) or MAE (2).

    See :func:`kdzoo.losses.functional.comp_sum`. Its smooth adversarial form needs perturbed images,
    which a loss does not see: :func:`kdzoo.losses.functional.smooth_adversarial_comp_sum`.

    Args:
        tau: 0 or more.

    Example:
        >>> loss = CompSum(tau=1.7)
        >>> value = loss(student_output, None, target)
    """

    def __init__(self, tau: float = 1.0):
        super().__init__()
        self.tau = check_weight(tau, "tau")

    def forward(self, student: ModelOutput, teacher: ModelOutput | None, target: Tensor) -> Tensor:
        return KF.comp_sum(student.logits, target, self.tau)
