"""Z-loss as a module."""

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.z_loss import check_z
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class ZLoss(nn.Module):
    """Softplus of the label's Z-score, in place of cross-entropy; see :func:`kdzoo.losses.functional.z_loss`.

    Args:
        a: sharpness, above 0.
        b: the Z-score asked for; keep it below sqrt(number of classes - 1).

    Example:
        >>> loss = ZLoss(a=0.1, b=10.0)
        >>> value = loss(student_output, None, target)
    """

    def __init__(self, a: float = 1.0, b: float = 0.0):
        super().__init__()
        check_z(a, b)
        self.a, self.b = a, b

    def forward(self, student: ModelOutput, teacher: ModelOutput | None, target: Tensor) -> Tensor:
        return KF.z_loss(student.logits, target, self.a, self.b)
