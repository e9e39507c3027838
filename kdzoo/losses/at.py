"""AT: attention maps of both models agree."""

from torch import Tensor, nn

from kdzoo.losses.features import check_stages, largest, pair_up, same_size, unit, wide_pair
from kdzoo.losses.functional.checks import reduce
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


def attention(feature: Tensor, power: float = 2.0) -> Tensor:
    r"""Where a map [B, D, H, W] is active: :math:`Q / \|Q\|` with :math:`Q = \sum_d |F_d|^p`, as [B, HW]."""
    energy = (feature / largest(feature, (1, 2, 3))).abs().pow(power).sum(1)
    return unit(energy.flatten(1), dim=1)


def attention_transfer(
    student_map: Tensor, teacher_map: Tensor, power: float = 2.0, reduction: str = "mean"
) -> Tensor:
    """Squared error of two maps' attention, mean over positions.

    Args:
        student_map: [B, D_s, H, W].
        teacher_map: [B, D_t, H, W], of the same height and width; detached.
        power: p of the attention.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
    """
    ours, theirs = wide_pair(student_map, teacher_map)
    difference = attention(ours, power) - attention(theirs, power)
    return reduce(difference.square().mean(1), reduction)


@LOSSES.register()
class AT(nn.Module):
    r"""Attention transfer: :math:`\frac{1}{HW} \| Q_s/\|Q_s\| - Q_t/\|Q_t\| \|^2`, :math:`Q = \sum_d |F_d|^p`,
    mean over the batch, sum over the stages.

    Needs no adapter: widths may differ; of two sizes the larger map is average-pooled. Invariant to
    the scale of either map. A map under 1e-4 everywhere counts as zero: no attention, no gradient.

    Args:
        power: p, at least 1; 2 as in RepDistiller and mdistiller.
        stages: pairs [student's stage, teacher's stage]; all but the stem, in order, where ``None``.

    Published weight: 1000, beside cross-entropy 1.

    Source: Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017. As in the authors'
    code, RepDistiller and mdistiller the squared error is a mean over positions, where the paper
    has a norm with the factor 1/2. Their F.pow(p) loses the absolute value for odd p; here it stays.

    Example:
        >>> loss = AT(power=2.0)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True
    needs_features = True

    def __init__(self, power: float = 2.0, stages: list[list[int]] | None = None):
        super().__init__()
        if not power >= 1:
            raise ValueError(f"power must be at least 1, got {power}")
        self.power, self.stages = power, check_stages(stages)

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        pairs = pair_up(student, teacher, self.stages, "AT")
        return sum(attention_transfer(*same_size(*pair), self.power) for pair in pairs)
