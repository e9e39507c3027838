"""RKD: distances and angles between images are the teacher's."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.losses.features import SHORT, pooled_pair, unit, wide_pair
from kdzoo.losses.functional.checks import check_weight, full_precision, reduce
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


def steps(points: Tensor) -> Tensor:
    """[B, D] -> [B, B, D]: from each point to each other. Exactly zero between equal points."""
    return points.unsqueeze(0) - points.unsqueeze(1)


def distances(points: Tensor) -> Tensor:
    """Euclidean distances [B, B] over the mean distance of two images; a distance is at least 1e-4."""
    size = len(points)
    own = torch.eye(size, dtype=torch.bool, device=points.device)
    lengths = steps(points).square().sum(-1).clamp(min=SHORT**2).sqrt().masked_fill(own, 0.0)
    mean = lengths.sum() / max(size * (size - 1), 1)
    return lengths / mean.clamp(min=SHORT)


def angles(points: Tensor) -> Tensor:
    """Cosines [B, B, B] of the angles at each point between the ways to two others."""
    ways = unit(steps(points), dim=-1)
    return ways @ ways.transpose(1, 2)


def relational(
    student: Tensor,
    teacher: Tensor,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
    reduction: str = "mean",
) -> Tensor:
    """Huber loss of distances and of angles, weighted and added.

    Args:
        student: [B, D_s].
        teacher: [B, D_t]; detached.
        distance_weight, angle_weight: of the two parts; the angles take B^3 and B^2 D numbers.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B], by the first image of each relation.
    """
    student, teacher = wide_pair(student, teacher)
    with full_precision(student):
        rows = distance_weight * F.smooth_l1_loss(distances(student), distances(teacher), reduction="none").mean(1)
        if angle_weight:
            angle = F.smooth_l1_loss(angles(student), angles(teacher), reduction="none").mean((1, 2))
            rows = rows + angle_weight * angle
    return reduce(rows, reduction)


@LOSSES.register()
class RKD(nn.Module):
    r"""Relational distillation: :math:`w_d \, \mathrm{huber}(\psi_D^s, \psi_D^t) + w_a \, \mathrm{huber}(\psi_A^s,
    \psi_A^t)` on the pooled features [B, D], with distances over their mean :math:`\psi_D(i, j) = |x_i - x_j| / \mu`
    and angles :math:`\psi_A(i, j, k) = \cos \angle(x_j - x_i, x_k - x_i)`, mean over all B^2 and B^3 relations.

    Needs no adapter. Invariant to shifts, rotations and the scale of either feature. Two images closer
    than 1e-4 have the distance 1e-4 and no angle, without gradient (published: 1e-6). One image has no relation: 0.
    Depends on the batch of each process.

    Args:
        distance_weight: 25.
        angle_weight: 50; 0 saves the B^3 cosines.

    Published weight: 1 (the two above are the weights), beside cross-entropy 1.

    Source: Park et al., Relational Knowledge Distillation, CVPR 2019. As in the authors' code,
    RepDistiller and mdistiller: means, an image's relations with itself (zeros) counted in, where the paper sums.
    Their code gives NaN for one image, and computes distances from inner products, which loses small ones.

    Example:
        >>> loss = RKD(distance_weight=25.0, angle_weight=50.0)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True
    needs_features = True

    def __init__(self, distance_weight: float = 25.0, angle_weight: float = 50.0):
        super().__init__()
        self.distance_weight = check_weight(distance_weight, "distance_weight")
        self.angle_weight = check_weight(angle_weight, "angle_weight")

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        return relational(*pooled_pair(student, teacher, "RKD"), self.distance_weight, self.angle_weight)
