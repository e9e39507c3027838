"""Plain adversarial training: cross entropy on images attacked in one norm."""

from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.objectives.adversarial import AdversarialObjective, cross_entropy


@OBJECTIVES.register()
class AdversarialTraining(AdversarialObjective):
    """Cross entropy on the worst images within one norm's budget.

    (Not named AT: that loss is attention transfer.)

    Args:
        norm: of the attack; default Linf.
        eps, steps: budgets and attack steps, see :class:`AdversarialObjective`.

    Source: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018; the attack is APGD.

    Example:
        >>> losses = [dict(type="AdversarialTraining", norm="L2", eps=0.5)]
    """

    def __init__(self, norm: str = "Linf", eps: float | dict | None = None, steps: int | dict = 10):
        super().__init__((norm,), eps, steps)

    def forward(
        self, student: nn.Module, teacher: nn.Module | None, images: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(loss, logits [B, K] on the attacked images)."""
        logits = student(self.attack(student, images, target, self.norms[0]).best)
        return cross_entropy(logits, target), logits
