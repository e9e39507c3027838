"""AVG: the mean of the cross entropies under all norms' attacks."""

import torch
from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.attacks.projections import NORMS
from kdzoo.robust.objectives.adversarial import AdversarialObjective, cross_entropy


@OBJECTIVES.register()
class AVG(AdversarialObjective):
    """Adversarial training on every norm's perturbation of every image.

    Batch norm sees one batch a norm. The training accuracy counts the first norm's.

    Args:
        norms: all three by default.
        eps, steps: budgets and attack steps, see :class:`AdversarialObjective`.

    Source: Tramer and Boneh, Adversarial Training and Robustness for Multiple Perturbations, NeurIPS 2019.

    Example:
        >>> losses = [dict(type="AVG")]
    """

    def __init__(self, norms: tuple | list = NORMS, eps: float | dict | None = None, steps: int | dict = 10):
        super().__init__(norms, eps, steps)

    def forward(
        self, student: nn.Module, teacher: nn.Module | None, images: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(loss, logits [B, K] on the first norm's perturbations)."""
        # All attacks before the first training forward: it moves the batch statistics that attacks are made under.
        attacked = [self.attack(student, images, target, norm).best for norm in self.norms]
        logits = [student(x) for x in attacked]
        return torch.stack([cross_entropy(x, target) for x in logits]).mean(), logits[0]
