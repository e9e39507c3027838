"""Cross-entropy as a module."""

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class CrossEntropy(nn.Module):
    """Cross-entropy of the student's logits with the target, class indices or soft labels.

    Args:
        label_smoothing: mass spread evenly over all classes, in [0, 1).

    Example:
        >>> loss = CrossEntropy(label_smoothing=0.1)
        >>> value = loss(student_output, None, target)
    """

    def __init__(self, label_smoothing: float = 0.0):
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        self.label_smoothing = label_smoothing

    def forward(self, student: ModelOutput, teacher: ModelOutput | None, target: Tensor) -> Tensor:
        return KF.cross_entropy(student.logits, target, self.label_smoothing)
