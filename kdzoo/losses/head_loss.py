"""The loss the student's own head was made for."""

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.checks import check_logits
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class HeadLoss(nn.Module):
    """What the config's ``head`` trains with: squared hinge for ``SVMHead``, margins for ``ArcFaceHead``, and so on.

    A student whose head has no loss of its own (a plain linear classifier) trains with cross-entropy.

    Args:
        student_head: offered by the training; it stays the student's, and is no part of this loss's state.

    Example:
        >>> head = dict(type="CosFaceHead", scale=16.0, margin=0.2)     # two lines of a config
        >>> losses = [dict(type="HeadLoss")]
    """

    def __init__(self, *, student_head: nn.Module | None = None):
        super().__init__()
        object.__setattr__(self, "head", student_head if hasattr(student_head, "loss") else None)

    def forward(self, student: ModelOutput, teacher: ModelOutput | None, target: Tensor) -> Tensor:
        if self.head is None:
            return KF.cross_entropy(student.logits, target)
        return self.head.loss(check_logits(student.logits, "student_logits"), target)
