"""TRADES: accuracy on clean images, and predictions that an attack does not move."""

from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.attacks.evaluation_mode import evaluation_mode
from kdzoo.robust.objectives.adversarial import AdversarialObjective, cross_entropy, kl
from kdzoo.robust.objectives.ascend import ascend


@OBJECTIVES.register()
class TRADES(AdversarialObjective):
    """:math:`CE(f(x), y) + \\beta\\, KL(f(x) \\| f(x'))`, with x' the attack on that very divergence.

    The training accuracy counts clean images.

    Args:
        beta: weight of the divergence; 6 as in the paper (its 1 / lambda).
        norm: of the attack; default Linf.
        eps, steps: budget and attack steps, see :class:`AdversarialObjective`; default 8/255 and 10.
        step_size: of the attack; default eps / 4.

    Source: Zhang et al., Theoretically Principled Trade-off between Robustness and Accuracy, ICML 2019.

    Example:
        >>> losses = [dict(type="TRADES", beta=6.0)]
    """

    def __init__(
        self,
        beta: float = 6.0,
        norm: str = "Linf",
        eps: float | dict | None = None,
        steps: int | dict = 10,
        step_size: float | None = None,
    ):
        super().__init__((norm,), eps, steps, step_size)
        if beta < 0:
            raise ValueError(f"beta must be 0 or more, got {beta}")
        self.beta = beta

    def forward(
        self, student: nn.Module, teacher: nn.Module | None, images: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(loss, logits [B, K] on the clean images)."""
        (norm,) = self.norms
        with evaluation_mode(student):
            before = student(images).detach()
        attacked = ascend(
            student, images, lambda after: kl(before, after), norm, self.eps[norm], self.steps[norm], self.step_size
        )
        clean = student(images)
        return cross_entropy(clean, target) + self.beta * kl(clean, student(attacked)).mean(), clean
