"""ReviewKD: each stage of the student, fused with all later ones, meets the teacher's."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.losses.features import AdapterNorm, check_stages, pair_up, pooled_pair, wide_pair
from kdzoo.losses.functional.checks import full_precision, reduce
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES

LEVELS = (4, 2, 1)  # sides of the pooled maps that are compared too


def hierarchical_context(student_map: Tensor, teacher_map: Tensor, reduction: str = "mean") -> Tensor:
    """Squared error of two maps at several scales: as they are, and pooled to 4x4, 2x2 and 1x1.

    The weights 1, 1/2, 1/4, ... of the scales that are smaller than the map are divided by their sum.

    Args:
        student_map, teacher_map: [B, D, H, W], of one shape; the teacher's is detached.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
    """
    student_map, teacher_map = wide_pair(student_map, teacher_map)
    rows, weight, weights = (student_map - teacher_map).square().mean((1, 2, 3)), 1.0, 1.0
    for side in LEVELS:
        if side < min(student_map.shape[2:]):
            weight /= 2
            weights += weight
            ours, theirs = F.adaptive_avg_pool2d(student_map, side), F.adaptive_avg_pool2d(teacher_map, side)
            rows = rows + weight * (ours - theirs).square().mean((1, 2, 3))
    return reduce(rows / weights, reduction)


@LOSSES.register()
class ReviewKD(nn.Module):
    r"""Knowledge review: :math:`\sum_l \mathrm{HCL}(f_l(F_s^l, F_s^{l+1}, \ldots, F_s^L), F_t^l)`, where the last
    level is the pooled feature, as a 1x1 map, and HCL is the squared error at several scales
    (:func:`hierarchical_context`), mean over the batch.

    From the last level to the first an attention-based fusion (1x1 convolution, a weighted sum with what
    came from above, 3x3 convolution; batch norms) makes f, trained with the student. Maps
    of other sizes are brought to the teacher's, and what comes from above to the student's, by nearest
    neighbours: this loss resizes the student instead of pooling the larger map.

    Args:
        stages: pairs [student's stage, teacher's stage], from early to late; all but the stem where ``None``.
        max_width: of the fused maps; they have the pooled feature's width, 512 at most.
        student_example, teacher_example: outputs with stage maps and pooled features, which the adapters are made from.

    Published weight: 1 in mdistiller, beside cross-entropy 1, warmed up over 20 epochs (``warmup_epochs=20`` in
    the config's entry; the first epoch has 1/20 then, 0 in the authors' code). The authors' scripts: 5 for
    resnet32x4-resnet8x4, the WRN and the ShuffleNetV1 pairs, 8 for resnet32x4-ShuffleNetV2, 0.6 for
    resnet56-resnet20, 1 for resnet110-resnet32.

    Source: Chen et al., Distilling Knowledge via Knowledge Review, CVPR 2021. Architecture, initialisation and
    scales follow the authors' code, as in mdistiller. There the teacher's maps, of CIFAR networks, are
    taken before their last ReLU; here they are the output's stage maps.

    Example:
        >>> loss = ReviewKD(student_example=student_output, teacher_example=teacher_output)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True
    needs_features = True

    def __init__(
        self,
        stages: list[list[int]] | None = None,
        max_width: int = 512,
        *,
        student_example: ModelOutput,
        teacher_example: ModelOutput | None,
    ):
        super().__init__()
        if max_width < 1:
            raise ValueError(f"max_width must be at least 1, got {max_width}")
        self.stages = check_stages(stages)
        widths = [(ours.shape[1], theirs.shape[1]) for ours, theirs in self.levels(student_example, teacher_example)]
        middle = min(max_width, widths[0][0])
        self.fusions = nn.ModuleList(
            Fusion(width, middle, out_width, last=number == 0) for number, (width, out_width) in enumerate(widths)
        )

    def levels(self, student: ModelOutput, teacher: ModelOutput | None) -> list[tuple[Tensor, Tensor]]:
        """Pairs of maps from the last level, the pooled features, to the first."""
        pairs = pair_up(student, teacher, self.stages, "ReviewKD")
        ours, theirs = pooled_pair(student, teacher, "ReviewKD")
        return [(ours[:, :, None, None], theirs[:, :, None, None]), *reversed(pairs)]

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        total, above = 0.0, None
        with full_precision(student.logits):
            for (ours, theirs), fuse in zip(self.levels(student, teacher), self.fusions, strict=True):
                fused, above = fuse(ours, above, theirs.shape[2:])
                total = total + hierarchical_context(fused, theirs)
        return total


class Fusion(nn.Module):
    """One level's map and what came from above, weighed position by position.

    Args:
        width: of the student's map.
        middle: of what goes from level to level.
        out_width: of the teacher's map.
        last: nothing comes from above.
    """

    def __init__(self, width: int, middle: int, out_width: int, last: bool):
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(width, middle, 1, bias=False), AdapterNorm(middle))
        self.expand = nn.Sequential(nn.Conv2d(middle, out_width, 3, padding=1, bias=False), AdapterNorm(out_width))
        self.attend = None if last else nn.Sequential(nn.Conv2d(2 * middle, 2, 1), nn.Sigmoid())
        for conv in (self.reduce[0], self.expand[0]):
            nn.init.kaiming_uniform_(conv.weight, a=1)

    def forward(self, x: Tensor, above: Tensor | None, size: torch.Size) -> tuple[Tensor, Tensor]:
        """The level's [B, out_width, *size], and [B, middle, *size] for the next one."""
        x = self.reduce(x)
        if self.attend is not None:
            above = nearest(above, x.shape[2:])
            weights = self.attend(torch.cat([x, above], dim=1))  # [B, 2, H, W]
            x = x * weights[:, :1] + above * weights[:, 1:]
        x = nearest(x, size)
        return self.expand(x), x


def nearest(x: Tensor, size: torch.Size) -> Tensor:
    return x if x.shape[2:] == size else F.interpolate(x, size, mode="nearest")
