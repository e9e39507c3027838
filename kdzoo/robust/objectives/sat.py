"""SAT: each batch is attacked in one norm, drawn evenly."""

from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.attacks.projections import NORMS
from kdzoo.robust.objectives.adversarial import AdversarialObjective, cross_entropy, shared_draw


@OBJECTIVES.register()
class SAT(AdversarialObjective):
    """Stochastic adversarial training: cross entropy under one of the norms, drawn evenly for each batch.

    Args:
        norms: all three by default. All processes draw the same one.
        eps, steps: budgets and attack steps, see :class:`AdversarialObjective`.

    Source: Madaan, Shin and Hwang, Learning to Generate Noise for Multi-Attack Robustness, ICML 2021 (without its
    noise generator, as in Croce and Hein, ICML 2022).

    Example:
        >>> losses = [dict(type="SAT")]
    """

    def __init__(self, norms: tuple | list = NORMS, eps: float | dict | None = None, steps: int | dict = 10):
        super().__init__(norms, eps, steps)

    def forward(
        self, student: nn.Module, teacher: nn.Module | None, images: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(loss, logits [B, K] on the attacked images)."""
        norm = self.norms[int(shared_draw() * len(self.norms))]
        logits = student(self.attack(student, images, target, norm).best)
        return cross_entropy(logits, target), logits
