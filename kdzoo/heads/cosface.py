"""CosFace: a margin on the cosine."""

from torch import Tensor

from kdzoo.heads.cosine import MarginHead
from kdzoo.registry import HEADS


@HEADS.register()
class CosFaceHead(MarginHead):
    r"""Trains with :math:`s (\cos\theta_y - m)` for the label's class, decides by :math:`s \cos\theta_k`.

    Args:
        in_features: D.
        num_classes: K.
        scale: s, 64 as in the paper.
        margin: m, a difference of cosines in [0, 2), 0.35 as in the paper.
        centre: see :class:`kdzoo.heads.cosine.CosineHead`.

    Source: Wang et al., CosFace: Large Margin Cosine Loss for Deep Face Recognition, CVPR 2018.

    Example:
        >>> head = CosFaceHead(512, 80, scale=16.0, margin=0.2)
        >>> loss = head.loss(head(features), labels)
    """

    def __init__(
        self, in_features: int, num_classes: int, scale: float = 64.0, margin: float = 0.35, centre: bool = False
    ):
        super().__init__(in_features, num_classes, scale, centre)
        if not 0 <= margin < 2:
            raise ValueError(f"margin must be a difference of cosines in [0, 2), got {margin}")
        self.margin = margin

    @property
    def kernel(self) -> tuple[str, float]:
        return "cosface", self.margin

    def with_margin(self, cosine: Tensor) -> Tensor:
        return cosine - self.margin
