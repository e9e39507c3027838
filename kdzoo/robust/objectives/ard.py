"""ARD: the student under attack learns what the teacher says of the clean image."""

import torch
from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.objectives.adversarial import AdversarialObjective, cross_entropy, kl


@OBJECTIVES.register()
class ARD(AdversarialObjective):
    """:math:`\\alpha t^2\\, KL(T_t(x) \\| S_t(x')) + (1 - \\alpha)\\, CE(S(x), y)`; x' is attacked on the label.

    Args:
        temperature: t; 30 as in the published code for CIFAR.
        alpha: weight of the teacher; 1 as in the published code, where the clean term is off and not computed.
        norm: of the attack; default Linf.
        eps, steps: budget and attack steps, see :class:`AdversarialObjective`. The attack is APGD (published: PGD with
            a random start).

    The divergence is the batch's mean; the published code also divides by the number of classes.

    Source: Goldblum, Fowl, Feizi and Goldstein, Adversarially Robust Distillation, AAAI 2020.

    Example:
        >>> losses = [dict(type="ARD", temperature=30.0)]
    """

    needs_teacher = True

    def __init__(
        self,
        temperature: float = 30.0,
        alpha: float = 1.0,
        norm: str = "Linf",
        eps: float | dict | None = None,
        steps: int | dict = 10,
    ):
        super().__init__((norm,), eps, steps)
        if not temperature > 0 or not 0 <= alpha <= 1:
            raise ValueError(f"temperature must be above 0 and alpha from 0 to 1, got {temperature} and {alpha}")
        self.temperature, self.alpha = temperature, alpha

    def forward(self, student: nn.Module, teacher: nn.Module, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, logits [B, K] on the attacked images)."""
        attacked = self.attack(student, images, target, self.norms[0]).best
        with torch.no_grad():
            taught = teacher(images)
        logits = student(attacked)
        loss = self.alpha * self.temperature**2 * kl(taught, logits, self.temperature).mean()
        if self.alpha < 1:
            loss = loss + (1 - self.alpha) * cross_entropy(student(images), target)
        return loss, logits
