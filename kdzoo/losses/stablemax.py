"""StableMax cross-entropy as a module."""

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class StableMaxCrossEntropy(nn.Module):
    """Cross-entropy of StableMax; see :func:`kdzoo.losses.functional.stablemax_cross_entropy`.

    Example:
        >>> loss = StableMaxCrossEntropy()
        >>> value = loss(student_output, None, target)
    """

    def forward(self, student: ModelOutput, teacher: ModelOutput | None, target: Tensor) -> Tensor:
        return KF.stablemax_cross_entropy(student.logits, target)
