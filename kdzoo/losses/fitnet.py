"""FitNet: the student's hint layer, through a regressor, meets the teacher's."""

from torch import Tensor, nn

from kdzoo.losses.features import connector, pair_up, same_size, wide_pair
from kdzoo.losses.functional.checks import full_precision, reduce
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


def hint(student_map: Tensor, teacher_map: Tensor, reduction: str = "mean") -> Tensor:
    """Squared error of two maps [B, D, H, W], mean over D, H and W; scalar, or [B] for ``"none"``."""
    ours, theirs = wide_pair(student_map, teacher_map)
    return reduce((ours - theirs).square().mean((1, 2, 3)), reduction)


@LOSSES.register()
class FitNet(nn.Module):
    r"""Squared error of a hidden layer: :math:`\frac{1}{DHW} \| r(F_s) - F_t \|^2`, mean over the batch.

    The regressor r is a 1x1 convolution, batch norm and ReLU, trained with the student. Maps of
    different sizes: the larger is average-pooled first.

    Args:
        hint_layer: stage of the student (0: the stem); 2 as in RepDistiller and mdistiller.
        guided_layer: stage of the teacher; the same number where ``None``.
        relu: end the regressor in a ReLU, as published; ``False`` for a teacher whose maps go below zero.
        student_example, teacher_example: outputs with stage maps, which the adapter is made from.

    Published weight: 100, beside cross-entropy 1.

    Source: Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015; layer, weight, batch norm and
    training together with the classification loss from RepDistiller and mdistiller. The paper trains
    the hint first, alone, with the sum of squares halved; their regressor for maps of different
    sizes is a strided or transposed convolution instead of pooling.

    Example:
        >>> loss = FitNet(student_example=student_output, teacher_example=teacher_output)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True
    needs_features = True

    def __init__(
        self,
        hint_layer: int = 2,
        guided_layer: int | None = None,
        relu: bool = True,
        *,
        student_example: ModelOutput,
        teacher_example: ModelOutput | None,
    ):
        super().__init__()
        self.stages = [[hint_layer, hint_layer if guided_layer is None else guided_layer]]
        ((student, teacher),) = pair_up(student_example, teacher_example, self.stages, "FitNet")
        self.regressor = connector(student.shape[1], teacher.shape[1])
        if relu:
            self.regressor.append(nn.ReLU())

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        ours, theirs = same_size(*pair_up(student, teacher, self.stages, "FitNet")[0])
        with full_precision(ours):
            return hint(self.regressor(ours), theirs)
