"""OFD: the student's maps meet the teacher's through a margin ReLU and a partial distance."""

import torch
from torch import Tensor, nn

from kdzoo.losses.features import check_stages, connector, pair_up, same_size, wide_pair
from kdzoo.losses.functional.checks import full_precision, reduce
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


def partial_distance(student_map: Tensor, teacher_map: Tensor, margin: Tensor, reduction: str = "mean") -> Tensor:
    r"""Squared distance to :math:`\max(F_t, m)`, but 0 where the student is below a target that is not positive.

    Args:
        student_map: [B, D, H, W].
        teacher_map: [B, D, H, W]; detached.
        margin: m [D], 0 or below.
        reduction: ``"mean"`` over the batch of the sum over D, H and W, ``"sum"``, or ``"none"`` for [B].
    """
    ours, theirs = wide_pair(student_map, teacher_map)
    wanted = torch.maximum(theirs, margin.view(-1, 1, 1))
    counts = (ours > wanted) | (wanted > 0)
    return reduce((ours - wanted).square().where(counts, 0.0).sum((1, 2, 3)), reduction)


@LOSSES.register()
class OFD(nn.Module):
    r"""Overhauled feature distillation: :math:`\sum_l 2^{l - L} d_p(c_l(F_s^l), \max(F_t^l, m_l))`, where the
    partial distance :math:`d_p` is :math:`(s - t)^2`, or 0 where :math:`s \le t \le 0`, summed over D, H and W;
    mean over the batch.

    Each connector c (1x1 convolution and batch norm) is trained with the student. The margin m of a channel
    is the mean of the teacher's negative values there, over all training images seen so far (buffers,
    kept in checkpoints). Of two sizes the larger map is average-pooled first.

    Made for maps before their ReLU. Stage maps that come after one (of ResNets, say) have no negative
    values: their margins are 0, and the loss leaves out only what the ReLU would cut off the student.

    Args:
        stages: pairs [student's stage, teacher's stage]; all but the stem, in order, where ``None``.
        student_example, teacher_example: outputs with stage maps, which the adapters are made from.

    Published weight: 1e-3 for 32-pixel images (ImageNet: 1e-4), beside cross-entropy 1.

    Source: Heo et al., A Comprehensive Overhaul of Feature Distillation, ICCV 2019. The authors' code gets
    the margin from the batch norm before the teacher's ReLU (the mean of a cut normal
    distribution), which an output does not carry; it is the same quantity measured. They run the teacher's batch
    norms on batch statistics; here the teacher is in evaluation mode, as in mdistiller.

    Example:
        >>> loss = OFD(student_example=student_output, teacher_example=teacher_output)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True
    needs_features = True

    def __init__(
        self,
        stages: list[list[int]] | None = None,
        *,
        student_example: ModelOutput,
        teacher_example: ModelOutput | None,
    ):
        super().__init__()
        self.stages = check_stages(stages)
        pairs = pair_up(student_example, teacher_example, stages, "OFD")
        self.connectors = nn.ModuleList(connector(ours.shape[1], theirs.shape[1]) for ours, theirs in pairs)
        self.margins = nn.ModuleList(Margin(theirs.shape[1]) for _, theirs in pairs)

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        total = 0.0
        pairs = pair_up(student, teacher, self.stages, "OFD")
        for pair, connect, margin in zip(pairs, self.connectors, self.margins, strict=True):
            below = margin(pair[1])
            ours, theirs = same_size(*pair)
            with full_precision(ours):
                total = total / 2 + partial_distance(connect(ours), theirs, below)
        return total


class Margin(nn.Module):
    """Mean of each channel's negative values in all maps [B, D, H, W] seen in training; 0 without any."""

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("count", torch.zeros(width, dtype=torch.int64))

    @torch.no_grad()
    def forward(self, feature: Tensor) -> Tensor:
        if self.training:
            count = (feature < 0).sum((0, 2, 3))
            self.count += count
            gap = feature.clamp(max=0).sum((0, 2, 3)) - count * self.mean
            self.mean += gap / self.count.clamp(min=1)
        return self.mean
