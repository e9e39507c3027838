"""Soft-InfoNCE as a module."""

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.checks import check_temperature
from kdzoo.losses.functional.soft_info_nce import check_weights
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@LOSSES.register()
class SoftInfoNCE(nn.Module):
    """Contrast of a batch's images with its class texts, both ways as in CLIP, negatives weighted by a teacher.

    For CLIP-style students, whose logits are scores of images against class prompts; see
    :func:`kdzoo.losses.functional.soft_info_nce` and ``in_batch_scores``. Images of one class have
    one text, so pairs of equal labels are no negatives; with soft labels every other image is one.
    The loss depends on the batch, under DDP on each process's own.

    Args:
        alpha: how strongly the teacher's similarity spares a negative, in [0, beta]; 0 is InfoNCE and
            needs no teacher.
        beta: above 0.
        temperature: of the teacher's similarities.
        floor: smallest weight of a negative, in (0, 1].

    Example:
        >>> loss = SoftInfoNCE(alpha=0.5)
        >>> value = loss(student_output, teacher_output, target)
    """

    def __init__(self, alpha: float = 1.0, beta: float = 1.0, temperature: float = 1.0, floor: float = 0.1):
        super().__init__()
        check_weights(alpha, beta, floor)
        self.arguments = dict(alpha=alpha, beta=beta, temperature=check_temperature(temperature), floor=floor)
        self.needs_teacher = alpha > 0

    def forward(self, student: ModelOutput, teacher: ModelOutput | None, target: Tensor) -> Tensor:
        scores = KF.in_batch_scores(student.logits, target)
        guide = teacher if self.needs_teacher else student
        similarity = KF.in_batch_scores(guide.logits.detach(), target)
        negatives = target[:, None] != target if target.ndim == 1 else None
        texts = KF.soft_info_nce(scores, similarity, negatives, **self.arguments)
        images = KF.soft_info_nce(scores.T, similarity.T, negatives, **self.arguments)
        return (texts + images) / 2
