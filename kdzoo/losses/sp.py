"""SP: images alike to the teacher are alike to the student."""

from torch import Tensor, nn

from kdzoo.losses.features import SHORT, check_stages, largest, pair_up, unit, wide_pair
from kdzoo.losses.functional.checks import full_precision, reduce
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


def similarities(feature: Tensor) -> Tensor:
    """Inner products of the images' features [B, ...], each row of [B, B] brought to length 1."""
    flat = feature.flatten(1)
    flat = flat / largest(flat, (0, 1))
    return unit(flat @ flat.T, dim=1, short=SHORT**2)  # products: the square of a length


def similarity_preserving(student_feature: Tensor, teacher_feature: Tensor, reduction: str = "mean") -> Tensor:
    """Squared error of two similarity matrices, mean over each row.

    Args:
        student_feature, teacher_feature: [B, ...], of any two shapes; the teacher's is detached.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
    """
    ours, theirs = wide_pair(student_feature, teacher_feature)
    with full_precision(ours):
        difference = similarities(ours) - similarities(theirs)
    return reduce(difference.square().mean(1), reduction)


@LOSSES.register()
class SP(nn.Module):
    r"""Similarity preserving: :math:`\frac{1}{B^2} \| \tilde G_s - \tilde G_t \|_F^2`, :math:`G = F F^\top`
    over the flattened maps [B, DHW], its rows brought to length 1; sum over the stages.

    Needs no adapter and no pooling: [B, B] whatever the maps' shapes. Invariant to the scale of either
    feature and to rotations of it. An image under 1e-4 of the largest counts as zero: a zero row, no gradient.
    Depends on the batch of each process.

    Args:
        stages: pairs [student's stage, teacher's stage]; the last stages where ``None``.

    Published weight: 3000, beside cross-entropy 1.

    Source: Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019; weight and stage
    from RepDistiller and mdistiller.

    Example:
        >>> loss = SP()
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True
    needs_features = True

    def __init__(self, stages: list[list[int]] | None = None):
        super().__init__()
        self.stages = check_stages(stages) or [[-1, -1]]

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        return sum(similarity_preserving(*pair) for pair in pair_up(student, teacher, self.stages, "SP"))
