"""MAX: cross entropy on the worst of all norms' attacks, image by image."""

import torch
from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.attacks.projections import NORMS, per_image
from kdzoo.robust.objectives.adversarial import AdversarialObjective, cross_entropy


@OBJECTIVES.register()
class MAX(AdversarialObjective):
    """Adversarial training on the perturbation of highest loss among the norms.

    Args:
        norms: all three by default.
        eps, steps: budgets and attack steps, see :class:`AdversarialObjective`.

    Source: Tramer and Boneh, Adversarial Training and Robustness for Multiple Perturbations, NeurIPS 2019.

    Example:
        >>> losses = [dict(type="MAX")]
    """

    def __init__(self, norms: tuple | list = NORMS, eps: float | dict | None = None, steps: int | dict = 10):
        super().__init__(norms, eps, steps)

    def forward(
        self, student: nn.Module, teacher: nn.Module | None, images: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(loss, logits [B, K] on each image's worst perturbation)."""
        first, *others = (self.attack(student, images, target, norm) for norm in self.norms)
        worst, loss = first.best, first.loss
        for found in others:
            worst = torch.where(per_image(found.loss > loss, images), found.best, worst)
            loss = torch.maximum(loss, found.loss)
        logits = student(worst)
        return cross_entropy(logits, target), logits
