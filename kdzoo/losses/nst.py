"""NST: channels of the student are active where channels of the teacher are."""

from torch import Tensor, nn

from kdzoo.losses.features import check_stages, pair_up, same_size, unit, wide_pair
from kdzoo.losses.functional.checks import full_precision, reduce
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


def neuron_selectivity(student_map: Tensor, teacher_map: Tensor, reduction: str = "mean") -> Tensor:
    """Squared maximum mean discrepancy of two sets of channels, with the kernel (x . y)^2.

    Args:
        student_map: [B, D_s, H, W].
        teacher_map: [B, D_t, H, W], of the same height and width; detached.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
    """
    ours, theirs = (unit(x.flatten(2), dim=2) for x in wide_pair(student_map, teacher_map))
    with full_precision(ours):
        return reduce(kernel_mean(ours, ours) + kernel_mean(theirs, theirs) - 2 * kernel_mean(ours, theirs), reduction)


def kernel_mean(a: Tensor, b: Tensor) -> Tensor:
    """[B, D_a, P], [B, D_b, P] -> [B], the mean of (x . y)^2 over all pairs of channels."""
    return (a @ b.transpose(1, 2)).square().mean((1, 2))


@LOSSES.register()
class NST(nn.Module):
    r"""Neuron selectivity transfer: :math:`\mathrm{mean}_{ij} (a_i \cdot a_j)^2 + \mathrm{mean}_{ij} (b_i \cdot b_j)^2
    - 2\, \mathrm{mean}_{ij} (a_i \cdot b_j)^2`, where a and b are the channels [HW] of student and teacher at
    length 1; mean over the batch, sum over the stages.

    Needs no adapter: widths may differ; of two sizes the larger map is average-pooled. Invariant to
    the order of channels, to one order of the positions in both maps, and to the scale of each channel. A channel
    of length under 1e-4 counts as zero, without gradient. Equal maps give 0, by rounding a tiny negative too.

    Args:
        stages: pairs [student's stage, teacher's stage]; all but the stem, in order, where ``None``.

    Published weight: 50, beside cross-entropy 1.

    Source: Huang and Wang, Like What You Like: Knowledge Distill via Neuron Selectivity Transfer, 2017
    (arXiv 1707.01219), with the polynomial kernel of degree 2 and c = 0; weight from RepDistiller and mdistiller.

    Example:
        >>> loss = NST()
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True
    needs_features = True

    def __init__(self, stages: list[list[int]] | None = None):
        super().__init__()
        self.stages = check_stages(stages)

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        pairs = pair_up(student, teacher, self.stages, "NST")
        return sum(neuron_selectivity(*same_size(*pair)) for pair in pairs)
