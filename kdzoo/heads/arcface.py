"""ArcFace: a margin on the angle."""

import math

import torch
from torch import Tensor

from kdzoo.heads.cosine import MarginHead
from kdzoo.registry import HEADS

# The smallest sin^2 whose slope is followed: at |cos| = 1 the square root's slope is infinite.
SIN2_FLOOR = 1e-7


@HEADS.register()
class ArcFaceHead(MarginHead):
    r"""Trains with :math:`s \cos(\theta_y + m)` for the label's class, decides by :math:`s \cos\theta_k`.

    Beyond :math:`\theta_y = \pi - m`, where the cosine would rise again, :math:`\cos\theta_y - m \sin m` takes its
    place, as in the authors' code. Gradients are finite everywhere: within :math:`\sin^2\theta < 10^{-7}` the sine
    counts as a constant.

    Args:
        in_features: D.
        num_classes: K.
        scale: s, 64 as in the paper.
        margin_rad: m in radians, from 0 to pi/2; 0.5 as in the paper (28.6 degrees, which pytorch-metric-learning
            writes in degrees).
        centre: see :class:`kdzoo.heads.cosine.CosineHead`.

    Source: Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, CVPR 2019.

    Example:
        >>> head = ArcFaceHead(512, 80, scale=16.0, margin_rad=0.3)
        >>> loss = head.loss(head(features), labels)
    """

    def __init__(
        self, in_features: int, num_classes: int, scale: float = 64.0, margin_rad: float = 0.5, centre: bool = False
    ):
        super().__init__(in_features, num_classes, scale, centre)
        if not 0 <= margin_rad <= math.pi / 2:
            raise ValueError(f"margin_rad must be radians in [0, pi/2], got {margin_rad} (degrees? divide by 57.3)")
        self.margin_rad = margin_rad

    @property
    def kernel(self) -> tuple[str, float]:
        return "arcface", self.margin_rad

    def with_margin(self, cosine: Tensor) -> Tensor:
        m = self.margin_rad
        cosine = cosine.clamp(-1, 1)
        sine2 = 1 - cosine.square()
        sine = torch.where(sine2 < SIN2_FLOOR, sine2.detach().sqrt(), sine2.clamp_min(SIN2_FLOOR).sqrt())
        turned = cosine * math.cos(m) - sine * math.sin(m)  # cos(theta + m)
        return torch.where(cosine < -math.cos(m), cosine - m * math.sin(m), turned)
